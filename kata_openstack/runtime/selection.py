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

"""The choice of a handler: a pure function of needs and what is there.

The candidates come in the operator's order; the first that is usable, that
the operator allows, and that satisfies everything is chosen. Otherwise the
error names, for each candidate, the first thing against it.
"""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from kata_openstack import exception
from kata_openstack import needs as pod_needs
from kata_openstack.runtime.hypervisors import upstream

ANY = 'kata'  # the runtime that means: choose for me


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A handler as this node judged it.

    ``offers``: keys of :data:`.needs.NEEDS`. ``withheld``: what it
    offers elsewhere, and why not here. ``reason``: why it is usable, or the
    first thing against it. ``isolation``: one of
    :data:`.needs.ISOLATION`. The limits are those of one sandbox.
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
    """A candidate, and the first thing against it; None: it satisfies."""

    candidate: Candidate
    obstacle: str | None


def consider(runtime: str, needs: Iterable[str],
             candidates: Sequence[Candidate], *, isolation: str = 'none',
             allowed: Collection[str] | None = None,
             cpus: float | None = None,
             memory_mib: int | None = None) -> list[Opinion]:
    """What speaks against each candidate that ``runtime`` admits.

    :param runtime: ANY, or the name of a handler.
    :param needs: what must be offered.
    :param isolation: the least that is acceptable.
    :param allowed: handlers that the operator allows; None for all.
    :param cpus: size of the pod, None if it was not asked for.
    :param memory_mib: size of the pod, None if it was not asked for.
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
    """The first candidate that satisfies the request, see consider().

    :raises UnknownRuntime: for a runtime that is no candidate's handler.
    :raises NoHandler: if no candidate satisfies.
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
                      for o in opinions) or 'no hypervisor is configured')


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
        # never empty: an empty obstacle would count as none
        return candidate.reason or 'it is not usable'
    levels = pod_needs.ISOLATION
    if isolation not in levels:
        return f'isolation {isolation} is not known'
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
        return f'it has {most} vCPUs at most, not {cpus:g}'
    if memory_mib is not None and least is not None and memory_mib < least:
        return f'it needs {least} MiB of memory at least, not {memory_mib}'
    return None
