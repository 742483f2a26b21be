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

"""The table of services and containers."""

from tools.quickstart import process
from tools.quickstart import readiness
from tools.quickstart import services
from tools.quickstart import settings


def all_up(stack: settings.Stack) -> bool:
    return all(process.find(stack, service.name)
               for service in services.all_services(stack))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(cell.ljust(width) for cell, width in
                      zip(row, widths, strict=True)).rstrip()
            for row in rows]


def table(stack: settings.Stack) -> str:
    rows: list[tuple[str, ...]] = [
        ('SERVICE', 'STATE', 'PID', 'PORT', 'MEMORY')]
    total = 0.0
    for service in services.all_services(stack):
        running = process.find(stack, service.name)
        size = process.memory_mib(running) if running else 0.0
        total += size
        rows.append((
            service.name, 'up' if running else 'down',
            str(running.pid) if running else '-',
            str(service.port or '-'),
            f'{size:.0f} MiB' if running else '-'))
    lines = [*_aligned(rows), f'{total:.0f} MiB in total', '',
             f'State, logs, passwords: {stack.state}']
    if process.find(stack, 'zun-api') and process.find(stack, 'keystone'):
        try:
            lines += ['', *_containers(stack)]
        except Exception as e:
            # still print the services: they help to find the cause
            lines += [f'Cannot list containers: {e}. Check zun-api and '
                      f'keystone in {stack.logs}.']
    return '\n'.join(lines)


def _containers(stack: settings.Stack) -> list[str]:
    zun = readiness.containers(stack)
    rows: list[tuple[str, ...]] = [
        ('CONTAINER', 'NAME', 'STATUS', 'RUNTIME', 'ADDRESS')]
    for container in zun.containers.list(all_projects=True):
        addresses = [address['addr'] for group in
                     (container.addresses or {}).values()
                     for address in group]
        rows.append((container.uuid, container.name or '-',
                     container.status or '-',
                     getattr(container, 'runtime', None) or '-',
                     ' '.join(addresses) or '-'))
    for capsule in zun.capsules.list(all_projects=True):
        rows.append((capsule.uuid, (capsule.meta_name or '-') + ' (capsule)',
                     capsule.status or '-', '-',
                     ' '.join(address['addr'] for group in
                              (capsule.addresses or {}).values()
                              for address in group) or '-'))
    return _aligned(rows) if len(rows) > 1 else ['No containers.']
