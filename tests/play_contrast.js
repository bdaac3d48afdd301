// Texts whose contrast with what they stand on is below 4.5 (WCAG 2, AA).
() => {
  const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return [...n.slice(0, 3), n[3] ?? 1]; };
  const over = (top, below) => top.slice(0, 3).map((x, i) => x * top[3] + below[i] * (1 - top[3]));
  const ground = (one) => {
    const own = parse(getComputedStyle(one).backgroundColor);
    if (own[3] === 1 || !one.parentElement) return own.slice(0, 3);
    return over(own, ground(one.parentElement));
  };
  const light = (c) => c.map((x) => x / 255).map((x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const texts = [...document.querySelectorAll("body *")].filter((one) =>
    [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && one.checkVisibility() &&
    !one.closest("script, style, noscript, option"));
  return texts.flatMap((one) => {
    const [a, b] = [light(parse(getComputedStyle(one).color).slice(0, 3)), light(ground(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${one.tagName} ${one.className} ${one.textContent.slice(0, 20)} ${ratio}`] : [];
  });
}
