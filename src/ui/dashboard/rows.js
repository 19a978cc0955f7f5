// What the page's tables share: rows with named cells, and the badge that says a state by shape, word
// and colour, so that none of the three is needed alone.

import { icon, make, put, set, setIcon } from './dom.js';

/**
 * A row whose cells have names, so that updates need no queries. @columns is [name, label, kind]...:
 * the label stands before the value where the screen is too narrow for a head ('' for none), and kind
 * is 'n' for numbers. The roles stay when the style sheet turns the row into a card.
 */
export function row(key, columns) {
  const tr = make('tr');
  tr.dataset.key = key;
  set(tr, 'role', 'row');
  tr.cells_ = {};
  columns.forEach(([name, label, kind], i) => {
    const cell = make(i === 0 ? 'th' : 'td', kind === 'n' ? 'n num' : (kind ?? ''));
    if (i === 0) cell.scope = 'row';
    set(cell, 'role', i === 0 ? 'rowheader' : 'cell');
    if (label) cell.dataset.label = label;
    tr.cells_[name] = cell;
    tr.append(cell);
  });
  return tr;
}

export function badge() {
  const node = make('span', 'badge');
  node.append(icon('idle'), make('span'));
  return node;
}

export function setBadge(node, levelName, text) {
  set(node, 'data-level', levelName);
  setIcon(node.firstElementChild, levelName);
  put(node.lastElementChild, text);
}
