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

"""Base of the contract tests: Zun's own code around the driver.

The real pieces are Zun's client for zun-compute, its Manager with both
drivers, its resource tracker and its database. A request is serialized as for
the message bus, and then served at once. kata-compute, Neutron and Placement
are stand-ins that keep state.
"""

from typing import Any
from unittest import mock

from keystoneauth1 import exceptions as ks_exc
from oslo_utils import uuidutils
from zun.common import context as zun_context
from zun.common import utils as zun_utils
from zun.compute import api as compute_api
from zun.compute import manager
from zun.compute import provider_tree
from zun.compute import rpcapi
from zun.container import driver
from zun import objects as zun_objects
from zun.objects import base as objects_base
from zun.scheduler.client import query
from zun.scheduler.client import report

from kata_openstack.zun_driver import placement
from tests.unit.zun_driver import base

HOST = base.HOST


class Placement:
    """Stands in for Zun's client of Placement.

    ``allocations`` has the UUIDs of the consumers; updates raise ``fail``.
    """

    def __init__(self) -> None:
        self.allocations: set[str] = set()
        self.provider: Any = None
        self.fail: Exception | None = None
        self.memory: dict[str, int] = {}  # MiB, of resized containers
        self.most = 1 << 20  # MiB

    def delete_allocation_for_container(self, context: Any,
                                        uuid: str) -> bool:
        found = uuid in self.allocations
        self.allocations.discard(uuid)
        return found

    def get_provider_tree_and_ensure_root(self, context: Any, uuid: str,
                                          name: str | None = None) -> Any:
        tree = provider_tree.ProviderTree()
        tree.new_root(name, uuid, generation=1)
        return tree

    def update_from_provider_tree(self, context: Any, tree: Any) -> None:
        if self.fail:
            raise self.fail
        (root,) = tree.roots
        self.provider = tree.data(root.uuid)

    def get_allocs_for_consumer(self, context: Any, consumer: str
                                ) -> dict[str, Any]:
        if consumer not in self.allocations:
            return {'allocations': {}}
        return {'allocations': {'rp': {'generation': 1, 'resources': {
            'VCPU': 1, 'MEMORY_MB': self.memory.get(consumer, 512)}}},
            'consumer_generation': 1, 'project_id': 'p', 'user_id': 'u'}

    def put_allocations(self, context: Any, consumer: str,
                        payload: dict[str, Any]) -> bool:
        (allocation,) = payload['allocations'].values()
        assert set(allocation) == {'resources'}
        assert payload['consumer_generation'] == 1
        memory = allocation['resources']['MEMORY_MB']
        if memory > self.most:
            raise ks_exc.Conflict
        self.memory[consumer] = memory
        return True

    def get(self, url: str) -> Any:
        return mock.Mock(json=lambda: {'generation': 1})


class ContractTestCase(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.config(container_driver='kata', capsule_driver='kata')
        self.placement = Placement()
        self._replace(placement, '_client', lambda: self.placement)
        self._replace(report, 'SchedulerReportClient',
                      lambda: self.placement)
        self._replace(query, 'driver', mock.Mock())  # the scheduler
        # a tree can only be copied with eventlet's locks
        self._replace(driver, 'copy', mock.Mock(
            deepcopy=lambda tree: tree))
        self.background: list[Exception] = []
        self._replace(rpcapi.API, '__init__', lambda *_, **__: None)
        for name in ('_cast', '_call'):
            self._replace(rpcapi.API, name, lambda _, *args, **kwargs: (
                self._serve(*args, **kwargs)))
        self._replace(compute_api.API, '_schedule_container',
                      lambda _, *args: self._schedule(*args))
        self.admin = zun_context.get_admin_context(all_projects=True)
        self.service = zun_objects.ZunService(
            self.admin, host=HOST, binary='zun-compute')
        self.service.create()
        self.start_zun_compute()

    def _spawn(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Run a background task now; it must not raise to its caller."""
        try:
            super()._spawn(function, *args, **kwargs)
        except Exception as e:
            self.background.append(e)

    def _serve(self, server: str | None, method: str,
               **arguments: Any) -> Any:
        """Let the manager serve a request that crossed the message bus."""
        serializer = objects_base.ZunObjectSerializer()
        context = self.request()

        def cross(value: Any) -> Any:
            return serializer.deserialize_entity(
                context, serializer.serialize_entity(context, value))

        result = getattr(self.manager, method)(
            context, **{key: cross(value)
                        for key, value in arguments.items()})
        return cross(result)

    def _schedule(self, context: Any, container: Any,
                  extra_spec: Any) -> dict[str, Any]:
        self.placement.allocations.add(container.uuid)
        return {'host': HOST, 'nodename': None, 'limits': {}}

    def request(self) -> Any:
        """Return the context of the current request of the user."""
        return zun_context.RequestContext(
            project_id='p1', user_id='u1', is_admin=False,
            auth_token='token', request_id=self.context.request_id)

    # zun-compute

    def start_zun_compute(self) -> None:
        """Start it as its service does, with the first periodic tasks."""
        self.manager = manager.Manager()
        self.manager.init_containers(self.admin)
        self.minute()

    def minute(self) -> None:
        """Run the periodic tasks of zun-compute."""
        self.service.report_state_up()
        for name, task in manager.Manager._periodic_tasks:
            assert name in ('inventory_host', 'delete_unused_containers',
                            'sync_container_state'), name
            task(self.manager, self.admin)

    # the user, who uses zun-api

    @property
    def zun(self) -> compute_api.API:
        """Zun's client for zun-compute, with a new request."""
        self.context = zun_context.RequestContext(
            project_id='p1', user_id='u1', is_admin=False,
            auth_token='token', request_id=f'req-{uuidutils.generate_uuid()}')
        return compute_api.API(self.context)

    def create(self, run: bool = True, networks: Any = None,
               volumes: Any = None, **values: Any) -> Any:
        record = self.container(**{'host': None, **values})
        self.zun.container_create(
            self.context, record, {}, networks or self.requested(),
            {record.uuid: volumes or []}, run)
        return self.reload(record)

    def rebuild(self, record: Any, image: str | None = None) -> Any:
        """Rebuild as zun-api's controller does."""
        zun_utils.validate_container_state(record, 'rebuild')
        if image:
            record.image = image
        run = record.status == 'Running'
        record.status = 'Rebuilding'
        record.save(self.context)
        self.zun.container_rebuild(self.context, record, run)
        return self.reload(record)

    def does(self, action: str, record: Any, *args: Any) -> Any:
        """Do an operation of the API.

        :returns: the record afterwards
        """
        if action != 'show':
            zun_utils.validate_container_state(record, action)
        getattr(self.zun, f'container_{action}')(self.context, record, *args)
        return self.reload(record)

    def delete(self, record: Any) -> Any:
        """Delete by force.

        :returns: the record afterwards, None if it was deleted
        """
        zun_utils.validate_container_state(record, 'delete_force')
        self.zun.container_delete(self.context, record, True)
        return self.find(record)

    def find(self, record: Any) -> Any:
        found = type(record).list(self.admin, filters={'uuid': record.uuid})
        return found[0] if found else None

    def actions(self, record: Any) -> dict[str, str | None]:
        """Return the actions that the API shows for a container."""
        return {action.action: action.message for action
                in zun_objects.ContainerAction.get_by_container_uuid(
                    self.admin, record.uuid)}

    def assert_nothing_left(self) -> None:
        self.assertEqual(
            ({}, {}, set()), (self.api.pods, self.neutron.ports,
                              self.placement.allocations))
