"""Why the subtasks of a plugin wait, as far as the nodes are the reason."""

from __future__ import annotations

from collections.abc import Collection

from plugin_framework.engines.cluster.records import NodeRecord, Offer
from plugin_framework.engines.cluster.resources import Needs, described
from plugin_framework.errors import Code, Problem


def why_waiting(plugin: str, needs: Needs, nodes: Collection[NodeRecord]) -> str | None:
    """What keeps the nodes, all of them alive, from taking the next subtask of a plugin.

    A ``Problem`` where somebody has to do something about it; None where nothing does. It names no
    node: it is said again when it changes, and nodes come and go.
    """
    offering = [node for node in nodes if plugin in node.plugins]
    if nodes and not any(needs.fit(node.offer) for node in offering or nodes):
        most = max((node.offer for node in offering or nodes), key=_size)
        return Problem(
            f"plugin {plugin} needs {needs}, and no worker offers that: the most there is is"
            f" {described(most)}",
            Code.NO_RESOURCES,
        )
    if not offering:
        lacking = "those that run offer others" if nodes else "none runs at all"
        return Problem(f"no worker offers plugin {plugin}: {lacking}", Code.NO_WORKER)
    taking = [node for node in offering if needs.fit(node.offer) and not node.draining]
    if not taking:
        line = f"every worker that offers plugin {plugin} is shutting down"
        return Problem(line, Code.NO_WORKER)
    slots = sum(node.slots for node in taking)
    if not slots:
        return "the workers that offer it show no sign of life just now"
    if sum(len(node.running) for node in taking) >= slots:
        return f"all slots of the workers are taken, {slots} in all"
    return None


def _size(offer: Offer) -> tuple[float, ...]:
    return offer.gpus, offer.memory, offer.cpus
