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

"""Runs steps in parallel, each as soon as its dependencies are done."""

from collections.abc import Callable
import concurrent.futures
import dataclasses
import graphlib
import os
import sys
import time

from tools.quickstart import settings

WORKERS = 12  # more than CPUs: the steps mostly wait


@dataclasses.dataclass(frozen=True)
class Step:
    """A step; ``run`` returns a progress text, or None to print no line."""

    name: str
    run: Callable[[], str | None]
    needs: tuple[str, ...] = ()


class Progress:
    """Prints progress lines with the seconds since the start."""

    def __init__(self) -> None:
        # count from the start of the shell script
        began = float(os.environ.get('QUICKSTART_BEGAN', time.time()))
        self.began = time.monotonic() - (time.time() - began)

    def say(self, text: str) -> None:
        seconds = time.monotonic() - self.began
        print(f'[{seconds:6.1f}s] {text}', file=sys.stderr, flush=True)


def run_all(steps: list[Step], progress: Progress) -> None:
    """Run all steps in the order of their needs.

    Needs that are not among ``steps`` are ignored. After the first failure
    no further step starts.

    :raises QuickstartError: with the error of each failed step.
    """
    by_name = {step.name: step for step in steps}
    order = graphlib.TopologicalSorter(
        {step.name: [need for need in step.needs if need in by_name]
         for step in steps})
    order.prepare()
    errors: list[str] = []
    running: dict[concurrent.futures.Future[str | None],
                  tuple[str, float]] = {}
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        while order.is_active():
            for name in () if errors else order.get_ready():
                future = pool.submit(by_name[name].run)
                running[future] = (name, time.monotonic())
            if not running:
                break
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                name, began = running.pop(future)
                try:
                    said = future.result()
                except settings.QuickstartError as e:
                    errors.append(f'{name}: {e}')
                    progress.say(f'{name:20} FAILED')
                except Exception as e:
                    errors.append(f'{name}: {type(e).__name__}: {e}')
                    progress.say(f'{name:20} FAILED')
                else:
                    order.done(name)
                    if said is not None:
                        took = time.monotonic() - began
                        progress.say(f'{name:20} {said} ({took:.1f} s)')
    if errors:
        raise settings.QuickstartError('\n'.join(errors))
