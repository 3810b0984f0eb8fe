"""What the optimizers have of their base: its attributes, its hooks; and where they note what is only true now."""

from typing import Any

HOOKS = [f"_optimizer_{name}_hooks" for name in ("step_pre", "step_post", "state_dict_pre", "state_dict_post")]
HOOKS += [f"_optimizer_load_state_dict_{when}_hooks" for when in ("pre", "post")]


def of_base(name: str) -> Any:
    """Return a property that is the base optimizer's attribute (which it replaces on `load_state_dict`)."""
    return property(lambda self: getattr(self.base, name), lambda self, value: setattr(self.base, name, value))


def noted(name: str) -> Any:
    """Return a property kept in the dict `_now`: `torch.compile` (2.13) loses what is assigned to an optimizer."""
    return property(lambda self: self._now[name], lambda self, value: self._now.__setitem__(name, value))
