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

"""Base of the unit tests."""

from kombu.transport import memory
from oslotest import base

# oslo.messaging lets each thread that waits for kombu's broker in memory look
# for messages without a pause, which takes a whole CPU. It sets the pause to 0
# on the instance, so that a property must refuse it.
memory.Transport.polling_interval = property(
    lambda self: 0.01, lambda self, seconds: None)


class TestCase(base.BaseTestCase):
    """Captures logs and output, and stops patches after each test."""
