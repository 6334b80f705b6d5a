// The few things that the page does to the document: elements, cells that change only when they must, lists by key.

/** An element. Properties that the element doesn't have are attributes. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Puts parts into a node: strings, or [tag, class, text]. What is there already is left alone, so that focus,
 * selections and screen readers are not disturbed. Signs are for the eye: words beside them say the same. */
export function put(node, ...parts) {
  const told = JSON.stringify(parts);
  if (node.told === told) return;
  node.told = told;
  node.replaceChildren(
    ...parts.flatMap((part) => {
      if (typeof part === "string") return [part];
      const [tag, kind, text] = part;
      const made = el(tag, kind ? { class: kind } : {}, text);
      if (!kind.startsWith("sign")) return [made];
      made.setAttribute("aria-hidden", "true");
      return [made, " "];
    }),
  );
}

/** Makes the children of a node those of a list, by key: known ones stay where they are. */
export function keyed(parent, items, keyOf, make, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  items.forEach((item, index) => {
    const key = keyOf(item);
    wanted.add(key);
    let node = known.get(key);
    if (!node) known.set(key, (node = make(item)));
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
    update(node, item);
  });
  for (const [key, node] of known) {
    if (!wanted.has(key)) {
      node.remove();
      known.delete(key);
    }
  }
}

/** A table with live rows. Columns are {label, numeric, head, fill(cell, item), make(cell, item)}. Where it is shown as
 * cards its rows are no table rows to some browsers, so the roles are given. */
export class Table {
  constructor(table, caption, columns, keyOf, { empty }) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.empty = empty;
    table.setAttribute("role", "table");
    table.replaceChildren(
      el("caption", { class: "hidden" }, caption),
      el(
        "thead",
        { role: "rowgroup" },
        el(
          "tr",
          { role: "row" },
          ...columns.map((column) =>
            el("th", { scope: "col", role: "columnheader", class: column.numeric ? "n" : "" }, column.label),
          ),
        ),
      ),
      (this.body = el("tbody", { role: "rowgroup" })),
    );
    this.nothing = el("p", { class: "nothing" });
    table.after(this.nothing);
  }

  show(items) {
    put(this.nothing, items.length ? "" : this.empty);
    keyed(
      this.body,
      items,
      this.keyOf,
      (item) => this.#row(item),
      (row, item) => this.#fill(row, item),
    );
  }

  #row(item) {
    const row = el("tr", { role: "row" });
    for (const column of this.columns) {
      const cell = column.head
        ? el("th", { scope: "row", role: "rowheader" })
        : el("td", { role: "cell", class: column.numeric ? "n" : "", "data-label": column.label });
      row.append(cell);
      column.make?.(cell, item);
    }
    return row;
  }

  #fill(row, item) {
    this.columns.forEach((column, index) => column.fill?.(row.children[index], item, row));
  }
}
