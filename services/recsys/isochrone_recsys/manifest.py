from __future__ import annotations
from dataclasses import dataclass
@dataclass(frozen=True, slots=True)
class Shapes:
    items: int
    user_dense: int
    user_categories: tuple[int, ...]
    recent_items: int
    item_categories: tuple[int, ...]
    item_dense: int
