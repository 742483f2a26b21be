# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The choice of a handler: a pure function of needs and candidates.

The candidates are in the operator's order. The first one that is allowed,
usable and has all that the pod needs is chosen. If there is none, the error
has the first obstacle of each candidate.
"""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from kata_openstack import exception
from kata_openstack import needs as pod_needs
from kata_openstack.runtime.hypervisors import upstream

ANY = 'kata'  # the runtime that means any handler


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A handler on this node.

    ``offers``: keys of :data:`.needs.NEEDS`. ``withheld``: offers that are
    not available on this node, and why. ``reason``: why it is usable, or the
    first obstacle. ``isolation``: one of :data:`.needs.ISOLATION`.
    ``max_vcpus`` and ``min_memory_mib`` are limits of one pod.
    """

    handler: str
    hypervisor: str
    usable: bool
    reason: str
    offers: frozenset[str] = frozenset()
    withheld: Mapping[str, str] = dataclasses.field(default_factory=dict)
    isolation: str = 'none'
    max_vcpus: int | None = None
    min_memory_mib: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opinion:
    """A candidate and its first obstacle; None if it can run the pod."""

    candidate: Candidate
    obstacle: str | None


def consider(runtime: str, needs: Iterable[str],
             candidates: Sequence[Candidate], *, isolation: str = 'none',
             allowed: Collection[str] | None = None,
             cpus: float | None = None,
             memory_mib: int | None = None) -> list[Opinion]:
    """Return the first obstacle of each candidate for ``runtime``.

    :param runtime: ANY, or the name of a handler.
    :param needs: the offers that the pod needs.
    :param isolation: the minimum isolation level.
    :param allowed: handlers that the operator allows; None for all.
    :param cpus: size of the pod, None if it did not request one.
    :param memory_mib: size of the pod, None if it did not request one.
    """
    needed = sorted(set(needs))
    return [Opinion(candidate=c, obstacle=(
        _policy(c, isolation, allowed) or _needs(c, needed)
        or _size(c, cpus, memory_mib)))
        for c in candidates if runtime in (ANY, c.handler)]


def choose(runtime: str, needs: Iterable[str],
           candidates: Sequence[Candidate], *, isolation: str = 'none',
           allowed: Collection[str] | None = None,
           cpus: float | None = None,
           memory_mib: int | None = None) -> Candidate:
    """Return the first candidate without an obstacle, see consider().

    :raises UnknownRuntime: no candidate has this handler.
    :raises NoHandler: each candidate has an obstacle.
    """
    opinions = consider(runtime, needs, candidates, isolation=isolation,
                        allowed=allowed, cpus=cpus, memory_mib=memory_mib)
    if runtime != ANY and not opinions:
        raise _unknown(runtime, candidates)
    for opinion in opinions:
        if opinion.obstacle is None:
            return opinion.candidate
    raise exception.NoHandler(
        why='; '.join(f'{o.candidate.handler}: {o.obstacle}'
                      for o in opinions)
        or '[kata] hypervisor_order names no known hypervisor')


def _unknown(runtime: str, candidates: Sequence[Candidate],
             ) -> exception.UnknownRuntime:
    known = ', '.join([ANY, *(c.handler for c in candidates)])
    why, use = '', f'one of: {known}'
    successor = upstream.successor(runtime)
    if successor is not None:
        why, use = f' ({successor[1]})', f'kata-{successor[0]}, or {use}'
    return exception.UnknownRuntime(runtime=runtime, why=why, use=use)


def _policy(candidate: Candidate, isolation: str,
            allowed: Collection[str] | None) -> str | None:
    if allowed is not None and candidate.handler not in allowed:
        return '[kata] allowed_handlers does not name it'
    if not candidate.usable:
        # an empty string would count as no obstacle
        return candidate.reason or 'it is not usable'
    levels = pod_needs.ISOLATION
    if isolation not in levels:
        return f'isolation level {isolation} is unknown'
    if levels.index(candidate.isolation) < levels.index(isolation):
        return (f'its isolation is {candidate.isolation}, not '
                f'{isolation}')
    return None


def _needs(candidate: Candidate, needed: list[str]) -> str | None:
    for need in needed:
        if need in candidate.withheld:
            return (f'it does not offer {need} here: '
                    f'{candidate.withheld[need]}')
        if need not in candidate.offers:
            return f'it does not offer {need}'
    return None


def _size(candidate: Candidate, cpus: float | None,
          memory_mib: int | None) -> str | None:
    most, least = candidate.max_vcpus, candidate.min_memory_mib
    if cpus is not None and most is not None and cpus > most:
        return f'it supports {most} vCPUs at most, not {cpus:g}'
    if memory_mib is not None and least is not None and memory_mib < least:
        return f'it needs {least} MiB of memory at least, not {memory_mib}'
    return None
