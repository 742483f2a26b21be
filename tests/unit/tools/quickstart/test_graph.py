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

"""Steps run after their needs, and an error stops the rest."""

from tests.unit import base
from tools.quickstart import graph
from tools.quickstart import settings


class Silent(graph.Progress):

    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, text):
        self.said.append(text)


class GraphTest(base.TestCase):

    def test_order(self):
        done = []
        graph.run_all([
            graph.Step('roof', lambda: done.append('roof'), ('wall',)),
            graph.Step('wall', lambda: done.append('wall'), ('ground',)),
            graph.Step('ground', lambda: done.append('ground')),
        ], Silent())
        self.assertEqual(['ground', 'wall', 'roof'], done)

    def test_an_error_stops_what_needs_it_and_is_told(self):
        done = []

        def fail():
            raise settings.QuickstartError('no stones')

        error = self.assertRaises(
            settings.QuickstartError, graph.run_all,
            [graph.Step('wall', fail),
             graph.Step('roof', lambda: done.append('roof'), ('wall',))],
            Silent())
        self.assertEqual('wall: no stones', str(error))
        self.assertEqual([], done)

    def test_quiet_steps_say_nothing(self):
        progress = Silent()
        graph.run_all([graph.Step('loud', lambda: 'done'),
                       graph.Step('quiet', lambda: None)], progress)
        self.assertEqual(1, len(progress.said))
        self.assertIn('loud', progress.said[0])
