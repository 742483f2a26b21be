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

"""Make oslo.service use threads instead of eventlet."""

import logging
import warnings

from oslo_service import backend


def use_threads() -> None:
    """Select the threading backend, before oslo.messaging is imported.

    oslo.messaging imports oslo.service, which would load eventlet. gRPC does
    not work under eventlet.
    """
    logging.getLogger('oslo_service.backend').setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # futurist imports eventlet only to check whether it is installed.
        warnings.simplefilter('ignore')
        backend.init_backend(backend.BackendType.THREADING)
