// What every kind of page is made of. Texts stay texts: nothing is read as HTML.
const SVG = "http://www.w3.org/2000/svg";
function make(tag, given = {}, ...children) {
  const [name, space] = tag.split("@"), of = space ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(given))
    if (key.startsWith("on")) of.addEventListener(key.slice(2), value);
    else if (value === true) of.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) of.setAttribute(key, value);
  of.append(...children);
  return of;
}
const section = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);
const percent = p => p > 0 && p < 5e-5 ? "< 0.01 %" : (100 * p).toFixed(p < 0.0995 ? 2 : 1) + " %";
const visible = piece => piece.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣");
function bar(p) {
  const found = make("span", {class: "bar", "aria-hidden": "true"});
  found.style.width = (100 * p).toFixed(1) + "%";
  return found;
}
// Runs what may fail, and says how it ended where readers of screens hear it.
function guarded(said, run) {
  return async event => {
    if (event) event.preventDefault();
    said.textContent = "";
    try { await run(event); } catch (error) { said.textContent = error.message; }
  };
}
const errorLine = () => make("p", {class: "error", role: "alert"});
