"""Reads a queued prompt: which nodes lead to which, and which samplers a Cache Stats node can speak of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import server
from comfy_execution.utils import get_executing_context

STATS = "SenCacheStats"
_PATCH = "SenCacheModelPatch"
LONGEST_SETTING = 4000  # characters
_SECRET = re.compile("key|token|password|secret", re.IGNORECASE)
# What never carries a model; through anything else, such as a pipe of another pack, one may come.
_WITHOUT_MODEL = {
    "LATENT", "IMAGE", "MASK", "CONDITIONING", "VAE", "CLIP", "SIGMAS", "NOISE", "SAMPLER", "INT", "FLOAT",
    "STRING", "BOOLEAN",
}  # fmt: skip


def running(prompt_server: Any, prompt_id: str) -> tuple[Mapping[str, Any], Any]:
    """Return the running prompt's graph, and what the page sent beside it; empty where it is not known."""
    queue = getattr(prompt_server, "prompt_queue", None)
    for item in list(getattr(queue, "currently_running", {}).values()):
        if len(item) > 3 and str(item[1]) == prompt_id:
            return item[2], item[3]
    return {}, None


def model_of_executing_node() -> str | None:
    """Hash everything in the running prompt that leads to the model of the node that the host asks now.

    None where the prompt is not known, or a node expanded to this one.
    """
    prompt, node_id = _executing()
    return None if node_id not in prompt else _leads_to(prompt, node_id, "model")


def origin_of_executing_node() -> str | None:
    """Hash the node that the host asks now, and everything in the running prompt that leads to it.

    None where the prompt is not known. The parts of a node that expanded are that node.
    """
    prompt, node_id = _executing()
    return origin_of(prompt, node_id.partition(".")[0])


def origin_of(prompt: Mapping[str, Any], node_id: str) -> str | None:
    """Hash a node and everything that leads to it, None for one that is not in the prompt.

    As long as it stays, the host keeps what the node gave.
    """
    return None if node_id not in prompt else _leads_to(prompt, node_id, None)


def _executing() -> tuple[Mapping[str, Any], str]:
    """Return the running prompt and the id of the node that the host asks now; both empty outside a queue."""
    context = get_executing_context()
    if context is None:
        return {}, ""
    prompt, _ = running(getattr(server.PromptServer, "instance", None), str(context.prompt_id))
    return prompt, str(context.node_id)


def _leads_to(prompt: Mapping[str, Any], node_id: str, input_name: str | None) -> str:
    nodes = {one: prompt[one] for one in sorted(upstream(prompt, node_id, input_name))}
    leads = [[one, node.get("class_type"), node.get("inputs")] for one, node in nodes.items()]
    own, inputs = prompt[node_id].get("class_type"), prompt[node_id].get("inputs") or {}
    asked = [own, inputs] if input_name is None else inputs.get(input_name)
    return hashlib.sha256(json.dumps([asked, leads], sort_keys=True, default=str).encode()).hexdigest()


def stats_after(prompt: Mapping[str, Any], sampler: str) -> list[str]:
    """Return the ids of the Cache Stats nodes that speak of a sampler; all where the graph does not tell."""
    stats = [str(node) for node, entry in prompt.items() if entry.get("class_type") == STATS]
    if sampler not in prompt:
        return stats
    return [node for node in stats if sampler in (samplers_before(prompt, node) or ())]


def settings_before(prompt: Mapping[str, Any], stats: str | None) -> dict[str, dict[str, Any]]:
    """Return what is set in the nodes that lead to a Cache Stats node, by id: not what is linked.

    Each has its `class_type` and its `inputs`. Long texts (an embedded table) are left out, and secrets.
    """
    if str(stats) not in prompt:
        return {}
    found = {}
    for node in sorted(upstream(prompt, stats, "samples") | upstream(prompt, stats, "model")):
        values = (prompt[node].get("inputs") or {}).items()
        kept = {name: value for name, value in values if _may_be_kept(name, value)}
        if kept:
            found[node] = {"class_type": prompt[node].get("class_type"), "inputs": kept}
    return found


def _may_be_kept(name: str, value: Any) -> bool:
    plain = isinstance(value, str | int | float | bool) and len(str(value)) <= LONGEST_SETTING
    return plain and not _SECRET.search(name)


def samplers_before(prompt: Mapping[str, Any], stats: str | None) -> set[str] | None:
    """Return the ids of the nodes that lead to a Cache Stats node's latent and may sample its patched model.

    Those that the patch does not reach (a sampler connected to the loader) are not among them, where the
    graph holds the patch; it does not where a node expanded to it. None where the Cache Stats node is not in
    the prompt.
    """
    if str(stats) not in prompt:
        return None
    before = upstream(prompt, stats, "samples")
    models = upstream(prompt, stats, "model", _WITHOUT_MODEL)
    patches = {node for node in models if prompt[node].get("class_type") == _PATCH}
    if not patches:
        return before
    return {node for node in before if patches & upstream(prompt, node, None, _WITHOUT_MODEL)}


def upstream(
    prompt: Mapping[str, Any], node_id: str | None, input_name: str | None, without: set[str] | None = None
) -> set[str]:
    """Return the ids of all nodes that lead to one input of a node, or to any, but by types left out."""
    found: set[str] = set()
    inputs = (prompt.get(str(node_id)) or {}).get("inputs", {})
    waiting = list(inputs.values()) if input_name is None else [inputs.get(input_name)]
    while waiting:
        link = waiting.pop()
        for source in _sources(prompt, link, without or set()):
            if source not in found:
                found.add(source)
                waiting.extend((prompt[source].get("inputs") or {}).values())
    return found


def _sources(prompt: Mapping[str, Any], link: Any, without: set[str]) -> Iterator[str]:
    """Yield the node that a link comes from, if it is a link to a node of the prompt and of a wanted type."""
    if isinstance(link, list) and len(link) == 2 and str(link[0]) in prompt:
        if not without or _type_of(prompt, link) not in without:
            yield str(link[0])


def _type_of(prompt: Mapping[str, Any], link: list[Any]) -> str | None:
    """Return the type of the output that a link leaves, None where it can't be told."""
    # ComfyUI's module `nodes`, whose name is also that of a folder of ours
    kind = server.nodes.NODE_CLASS_MAPPINGS.get(prompt[str(link[0])].get("class_type"))
    types = getattr(kind, "RETURN_TYPES", ())
    known = isinstance(link[1], int) and 0 <= link[1] < len(types)
    return str(types[link[1]]) if known else None
