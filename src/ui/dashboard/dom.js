// The little of a framework that the page needs: nodes are made once, changed only where they differ,
// and everything from the server enters as text.

export const byId = (id) => document.getElementById(id);

export function make(tag, className = '', text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

/** Writes @text only if it changed, so that a selection and a screen reader are left in peace. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function set(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

const SVG = 'http://www.w3.org/2000/svg';

export function svg(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** An icon of the sprite in index.html; the text beside it says the same. */
export function icon(name, className = 'icon') {
  const node = svg('svg', { class: className, 'aria-hidden': 'true' });
  node.append(svg('use', { href: `#i-${name}` }));
  return node;
}

export function setIcon(node, name) {
  set(node.firstElementChild, 'href', `#i-${name}`);
}

/**
 * Makes the children of @parent those of @items, in order. A node lives as long as its key, which
 * keeps focus and scroll where they are; @build makes it, @update fills it.
 */
export function reconcile(parent, items, keyOf, build, update) {
  const known = (parent.nodesByKey ??= new Map());
  const focused = document.activeElement;
  const left = new Set(known.keys());
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    if (!node) known.set(key, (node = build(item)));
    left.delete(key);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
    update(node, item);
  }
  for (const key of left) {
    known.get(key).remove();
    known.delete(key);
  }
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}
