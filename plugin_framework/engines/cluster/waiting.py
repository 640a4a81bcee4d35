"""Why the subtasks of a plugin wait, as far as the nodes are the reason."""

from __future__ import annotations

from collections.abc import Collection

from plugin_framework.engines.cluster.records import NodeRecord, Offer
from plugin_framework.engines.cluster.resources import Needs, described
from plugin_framework.errors import Code, Problem

MOST_NAMES = 5
"""Nodes that one line names."""


def why_waiting(plugin: str, needs: Needs, nodes: Collection[NodeRecord]) -> str | None:
    """What keeps the nodes, all of them alive, from taking the next subtask of a plugin.

    A ``Problem`` where somebody has to do something about it; None where nothing does.
    """
    offering = [node for node in nodes if plugin in node.plugins]
    if nodes and not any(needs.fit(node.offer) for node in offering or nodes):
        most = max(offering or nodes, key=lambda node: _size(node.offer))
        return Problem(
            f"plugin {plugin} needs {needs}, and no worker offers that: the most there is is"
            f" {described(most.offer)}, on {most.name}",
            Code.NO_RESOURCES,
        )
    if not offering:
        there = f"there is only {_names(nodes)}" if nodes else "there is none at all"
        return Problem(f"no worker offers plugin {plugin}: {there}", Code.NO_WORKER)
    able = [node for node in offering if needs.fit(node.offer)]
    taking = [node for node in able if not node.draining]
    if not taking:
        return Problem(
            f"every worker that offers plugin {plugin} is shutting down: {_names(able)}",
            Code.NO_WORKER,
        )
    slots = sum(node.slots for node in taking)
    if sum(len(node.running) for node in taking) >= slots:
        return f"all slots of the workers are taken, {slots} in all"
    return None


def _size(offer: Offer) -> tuple[float, ...]:
    return offer.gpus, offer.memory, offer.cpus


def _names(nodes: Collection[NodeRecord]) -> str:
    names = sorted(node.name for node in nodes)
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
