"""What a page is, and the settings of one call of it: frozen values, no flags."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from unroll.settings import Role, Setting, described, shown

if TYPE_CHECKING:  # without JAX
  from unroll.types import Better

Group = TypeVar("Group")


class Page(NamedTuple):
  """What one can run: `python -m experiments.NAME`.

  Attributes:
    name: of the page, which its runs are called by.
    main: what it does with its settings.
    groups: dataclasses of settings that it adopts.
    former: settings that its runs once had, with the only value it can read.
    objective: the measure that chooses the best checkpoint, and which value is better.
  """

  name: str
  main: Callable[["Settings"], None]
  groups: tuple[type, ...]
  former: Mapping[str, Any] = {}
  objective: "tuple[str, Better]" = ("loss", "lower")

  @property
  def settings(self) -> dict[str, Setting]:
    """All settings of its groups, by name."""
    return {name: s for group in self.groups for name, s in described(group).items()}


class Settings:
  """The groups of a page with the values of one call; another value is another object.

  `settings[Training].batch` reads one.

  Args:
    page: whose they are.
    groups: a value of each of its groups.
    given: the settings that were given, each with the flag that gives it.
  """

  def __init__(self, page: Page, groups: Mapping[type, Any], given: Mapping[str, str]):
    self.page, self.given = page, dict(given)
    self._groups = {group: groups.get(group, group()) for group in page.groups}

  @classmethod
  def of(cls, page: Page, **values: Any) -> "Settings":
    """Settings that differ from the page's defaults in some values."""
    return cls(page, {}, {}).replaced(**values)

  def __getitem__(self, group: type[Group]) -> Group:
    return self._groups[group]

  def replaced(self, **values: Any) -> "Settings":
    """The same but for some values, which count as given."""
    given = {name: f"--{name}={shown(value)}" for name, value in values.items()}
    return Settings(self.page, self._changed(values), {**self.given, **given})

  def adopted(self, values: Mapping[str, Any]) -> "Settings":
    """The same but for some values, which nobody gave."""
    return Settings(self.page, self._changed(values), self.given)

  def values(self, *roles: Role) -> dict[str, Any]:
    """The values by name, of the settings that have one of the roles; sorted."""
    known = self.page.settings
    found = {
      name: getattr(group, name)
      for kind, group in self._groups.items()
      for name in described(kind)
    }
    return {name: found[name] for name in sorted(found) if known[name].role in roles}

  def shown(self, *names: str) -> str:
    """Some of the values, as messages name them: those that the page has."""
    return ", ".join(
      f"{name}={shown(getattr(group, name))}"
      for name in names
      for group in self._groups.values()
      if name in described(type(group))
    )

  def _changed(self, values: Mapping[str, Any]) -> dict[type, Any]:
    groups = dict(self._groups)
    for name, value in values.items():
      (group,) = (kind for kind in groups if name in described(kind))
      groups[group] = dataclasses.replace(groups[group], **{name: value})
    return groups
