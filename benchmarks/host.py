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

"""Measures the host probe and the selection of a handler.

The baseline is the start of a bare Python interpreter, because the process
that measures KVM is one, and takes the largest part of a probe. The selection
is the most expensive case: it considers each handler of all plugins, and only
the last one fits.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks import report
from kata_openstack.runtime.host import probe
from kata_openstack.runtime.hypervisors import loader
from kata_openstack.runtime import selection

_CHOICES = 1000  # per round


def python_start() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, '-I', '-S', '-c', 'pass'], check=True)
    return time.monotonic() - began


def probed(cache: pathlib.Path, *, refresh: bool) -> float:
    began = time.monotonic()
    probe.probe(cache=cache, refresh=refresh)
    return time.monotonic() - began


def candidates() -> list[selection.Candidate]:
    """A candidate for each handler of all plugins; only the last has vfio."""
    names = [handler.name for plugin in loader.installed().values()
             for handler in plugin.facts.handlers]
    return [selection.Candidate(
        handler=name, hypervisor=name, usable=True, reason='it is a test',
        offers=frozenset({'vfio'} if name == names[-1] else ()),
        isolation='hardware') for name in names]


def choice(found: list[selection.Candidate]) -> float:
    """Time of one selection, in microseconds."""
    began = time.monotonic()
    for _ in range(_CHOICES):
        selection.choose(selection.ANY, ['vfio'], found)
    return (time.monotonic() - began) / _CHOICES * 1e6


def main() -> None:
    options = report.parser('host', __doc__).parse_args()
    found = candidates()
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder, 'kvm.json')
        probed(cache, refresh=True)  # fills the cache of program versions
        for _ in range(options.n):
            for key, value in (
                    ('host.python_start_s', python_start()),
                    ('host.probe_measuring_s', probed(cache, refresh=True)),
                    ('host.probe_cached_s', probed(cache, refresh=False)),
                    (f'host.choose_of_{len(found)}_us', choice(found))):
                values.setdefault(key, []).append(value)
    values['host.probe_per_python_start'] = [
        a / b for a, b in zip(values['host.probe_measuring_s'],
                              values['host.python_start_s'], strict=True)]
    units = {'_s': 's', 'us': 'us'}
    report.show({key: report.summary(value, units.get(key[-2:], 'ratio'))
                 for key, value in values.items()}, options.json)


if __name__ == '__main__':
    main()
