"""The ranker as torch trains it: a deep learning recommendation model (Naumov et al., arXiv:1906.00091).

`graph.py` writes the same arithmetic as ONNX, arranged for serving; a build checks that both agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isochrone_recsys.manifest import Shapes

DIM = 32
"""Length of every embedding and of the dense features' vectors."""
BOTTOM = (128, 64, DIM)
"""Layers of the MLP over a user's dense features."""
ITEM_BOTTOM = (64, DIM)
"""Layers of the MLP over an item's dense features."""
TOP = (512, 256, 1)
"""Layers of the MLP over a user's and an item's interactions."""
DENSE_LIMIT = 6.0
"""Dense features are clipped to ± this many spreads, so that a finite but absurd one can't overflow to NaN."""


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """What the model knows of the n items of the catalogue, by index."""

    dense: Tensor
    """[n, item dense features], float32."""
    categories: Tensor
    """[n, item categorical features], int64."""


class DLRM(nn.Module):
    """Scores items for users by the inner products of all pairs of their features' vectors.

    A user has a vector for the dense features, for each categorical one, and the mean of the recent items'; an
    item for the dense features, for itself, and for each categorical one. The top MLP sees both dense vectors
    and all products. Its first layer is kept in two parts whose outputs add up, because one of them needs to
    be computed once for a user and not again for each candidate.
    """

    def __init__(self, shapes: Shapes, items: ItemFeatures) -> None:
        super().__init__()
        self.items = items
        self.none = shapes.items
        self.user_dense = _mlp(shapes.user_dense, BOTTOM)
        self.user_tables = nn.ModuleList(nn.Embedding(n, DIM) for n in shapes.user_categories)
        # What having looked at an item says of a user: another meaning than being shown it, so other tables.
        self.recent_tables = nn.ModuleList(nn.Embedding(n, DIM) for n in shapes.item_categories)
        self.item_dense = _mlp(items.dense.shape[1], ITEM_BOTTOM)
        self.item_tables = nn.ModuleList(nn.Embedding(n, DIM) for n in shapes.item_categories)
        self.item_table = nn.Embedding(shapes.items, DIM, sparse=True)
        for table in (*self.user_tables, *self.item_tables, *self.recent_tables):
            nn.init.normal_(table.weight, std=0.1)
        # Most items are rarely seen: they start as what their categories say, and move little from there.
        nn.init.normal_(self.item_table.weight, std=0.01)

        users, items_ = 2 + len(shapes.user_categories), 2 + len(shapes.item_categories)
        self.first_user = nn.Linear(DIM + users * (users - 1) // 2, TOP[0])
        self.first_row = nn.Linear(DIM + items_ * (items_ - 1) // 2 + users * items_, TOP[0], bias=False)
        self.rest = _mlp(TOP[0], TOP[1:])[:-1]

    def user_vectors(self, dense: Tensor, categories: Tensor, recent: Tensor) -> Tensor:
        """[U, user vectors, DIM] from dense [U, d], categories [U, c], recent item indices [U, r] padded with n."""
        present = recent < self.none
        looked_at = self.recent_vectors(torch.where(present, recent, 0)) * present.unsqueeze(-1)
        mean = looked_at.sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(min=1)
        bottom = self.user_dense(dense.clamp(-DENSE_LIMIT, DENSE_LIMIT))
        return torch.stack([bottom, *_look_up(self.user_tables, categories), mean], dim=1)

    def recent_vectors(self, item_index: Tensor) -> Tensor:
        """[..., DIM], what each item adds to the mean of those a user looked at."""
        vectors: Tensor = self.item_table(item_index)
        return vectors + torch.stack(_look_up(self.recent_tables, self.items.categories[item_index])).sum(dim=0)

    def item_vectors(self, item_index: Tensor) -> Tensor:
        """[N, item vectors, DIM] from item indices [N]."""
        bottom = self.item_dense(self.items.dense[item_index])
        categories = _look_up(self.item_tables, self.items.categories[item_index])
        return torch.stack([bottom, self.item_table(item_index), *categories], dim=1)

    def forward(
        self, dense: Tensor, categories: Tensor, recent: Tensor, item_index: Tensor, row_to_user: Tensor
    ) -> Tensor:
        """Log-odds [N] of a click on item `item_index[k]` by user `row_to_user[k]`."""
        users = self.user_vectors(dense, categories, recent)
        items = self.item_vectors(item_index)
        cross = torch.bmm(users.index_select(0, row_to_user), items.transpose(1, 2)).flatten(1)
        row = torch.cat([own_features(items), cross], dim=1)
        first_of_user = self.first_user(own_features(users)).index_select(0, row_to_user)
        first = torch.addmm(first_of_user, row, self.first_row.weight.t())
        log_odds: Tensor = self.rest(first.relu_()).squeeze(1)
        return log_odds


def own_features(vectors: Tensor) -> Tensor:
    """[B, DIM + pairs]: the dense vector and the products of all pairs, from one side's vectors [B, v, DIM]."""
    count = vectors.shape[1]
    above = torch.triu_indices(count, count, offset=1)
    products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
    return torch.cat([vectors[:, 0], products.index_select(1, above[0] * count + above[1])], dim=1)


def _mlp(width: int, layers: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these widths, a ReLU after each."""
    modules: list[nn.Module] = []
    for into, out in zip((width, *layers), layers, strict=False):
        modules += [nn.Linear(into, out), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


def _look_up(tables: nn.ModuleList, categories: Tensor) -> list[Tensor]:
    """[..., DIM] for each table, from categories [..., number of tables]."""
    return [table(categories[..., k]) for k, table in enumerate(tables)]
