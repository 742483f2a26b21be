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

"""Base of the driver's tests: Zun's objects with an in-memory database."""

import pathlib
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fixtures
from oslo_db.sqlalchemy import enginefacade
from oslo_utils import uuidutils
from zun.common import clients
from zun.common import context as zun_context
from zun.common import utils as zun_utils
import zun.conf
from zun.db.sqlalchemy import models
from zun import objects as zun_objects

from kata_openstack.conf import opts
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver.network import ports
from kata_openstack.zun_driver import placement
from kata_openstack.zun_driver.records import watch
from tests.unit import base
from tests.unit.zun_driver import fakes

CONF = zun.conf.CONF
HOST = 'node-1'


class DriverTestCase(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        CONF([], project='zun', default_config_files=[])
        self.addCleanup(CONF.reset)
        opts.register_opts(CONF, 'kata_driver')
        self.config(host=HOST)
        self.config(connection='sqlite://', group='database')
        self._database()
        self.context = zun_context.RequestContext(
            project_id='p1', user_id='u1', is_admin=False,
            auth_token='token', request_id='req-1')
        self.api = fakes.ComputeAPI()
        self.neutron = fakes.Neutron()
        self._replace(client, 'api', lambda: self.api)
        self._replace(clients.OpenStackClients, 'neutron',
                      lambda _: self.neutron)
        self.glance = fakes.Glance()
        self._replace(clients.OpenStackClients, 'glance',
                      lambda _: self.glance)
        self.api.folder = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path)
        self.config('glance', images_directory=str(self.api.folder))
        self._replace(zun_utils, 'spawn_n', self._spawn)
        # it never ends
        self._replace(watch.Watch, 'start', lambda _: None)
        self.generation: int | None = None
        self.allocated: set[str] = set()
        self._replace(placement, '_client', lambda: self)
        ports._networks.clear()
        ports._admin_client.cache_clear()
        self.addCleanup(ports._admin_client.cache_clear)

    @staticmethod
    def _spawn(function: Any, *args: Any, **kwargs: Any) -> None:
        """Stands in for a green thread: runs the function at once."""
        function(*args, **kwargs)

    def _database(self) -> None:
        manager = enginefacade._context_manager
        patch = enginefacade.transaction_context()
        patch.configure(connection='sqlite://')
        self.addCleanup(manager.patch_factory(patch))
        engine = patch.writer.get_engine()
        models.Base.metadata.create_all(engine)
        self.addCleanup(engine.dispose)

    def _replace(self, where: Any, name: str, value: Any) -> None:
        patcher = mock.patch.object(where, name, value)
        patcher.start()
        self.addCleanup(patcher.stop)

    def delete_allocation_for_container(self, context: Any,
                                        uuid: str) -> bool:
        """Stands in for Zun's Placement client; uses ``self.allocated``."""
        if uuid not in self.allocated:
            return False
        self.allocated.remove(uuid)
        return True

    def get(self, url: str) -> Any:
        """Stands in for Zun's Placement client; see ``self.generation``."""
        return SimpleNamespace(json=lambda: {'generation': self.generation})

    def config(self, group: str | None = None, **values: Any) -> None:
        for name, value in values.items():
            CONF.set_override(name, value, group)
            self.addCleanup(CONF.clear_override, name, group)

    def container(self, **values: Any) -> Any:
        """A container as zun-api passes it to zun-compute."""
        record = zun_objects.Container(self.context, **{
            'uuid': uuidutils.generate_uuid(), 'name': 'c 1',
            'project_id': 'p1', 'user_id': 'u1', 'host': HOST,
            'image': 'app:1', 'image_driver': 'docker', 'status': 'Creating',
            'memory': '512', 'cpu': 1.0, 'interactive': False, 'tty': False,
            'environment': {'A': 'b'}, **values})
        record.create(self.context)
        self.allocated.add(record.uuid)
        return zun_objects.Container.get_by_uuid(self.context, record.uuid)

    def reload(self, record: Any) -> Any:
        return type(record).get_by_uuid(self.context, record.uuid)

    def requested(self, **values: Any) -> list[dict[str, Any]]:
        """Requested networks as zun-api passes them."""
        return [{'network': self.neutron.NETWORK, 'port': '',
                 'router:external': False, 'shared': False, 'fixed_ip': '',
                 'preserve_on_delete': False, **values}]

    def user_port(self) -> str:
        """Create an unbound port that belongs to the user."""
        return self.neutron.create_port({'port': {
            'network_id': self.neutron.NETWORK, 'name': 'mine',
            'device_id': '', 'device_owner': '',
            'binding:host_id': ''}})['port']['id']
