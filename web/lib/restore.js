// Opens workflows that were saved when the nodes had other widgets, or had them in another order.

/**
 * Restore a node's widgets by name. ComfyUI goes by their order, unless a workflow of a newer one names them;
 * but every workflow lists the widgets' inputs, in the order of the values.
 * @param {GraphNode} node
 */
export function restoreByName(node) {
  const configure = node.configure;
  if (typeof configure !== "function") return;
  const usual = Object.fromEntries((node.widgets ?? []).map(({ name, value }) => [name, value]));
  node.configure = function (/** @type {any} */ saved) {
    const values = named(saved); // before ComfyUI puts the inputs into its own order
    const returned = configure.call(this, saved);
    for (const widget of values ? this.widgets ?? [] : []) {
      const found = values && widget.name in values ? values[widget.name] : usual[widget.name];
      if (widget.serialize !== false && found !== undefined) widget.value = found;
    }
    return returned;
  };
}

/**
 * @param {any} saved a node of a workflow
 * @returns {Record<string, any> | null} its values by widget, null where they can't be told
 */
function named(saved) {
  if (saved?.widgets_values_named) return saved.widgets_values_named;
  const values = saved?.widgets_values;
  const names = (saved?.inputs ?? []).flatMap((/** @type {any} */ one) => (one.widget ? [one.widget.name] : []));
  if (!Array.isArray(values) || names.length !== values.length) return null;
  return Object.fromEntries(names.map((/** @type {string} */ name, /** @type {number} */ index) => [name, values[index]]));
}
