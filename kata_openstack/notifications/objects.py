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

"""Payloads of the versioned notifications.

A new field raises the minor version, any other change the major version.
doc/notification_samples has one sample of each notification. No field is
filled from a container's environment or command; only the message of a fault
may quote a command that does not exist.
"""

from oslo_versionedobjects import base
from oslo_versionedobjects import fields


class _Payload(base.VersionedObject):
    OBJ_SERIAL_NAMESPACE = 'kata_openstack_object'
    OBJ_PROJECT_NAMESPACE = 'kata_openstack'


class FaultPayload(_Payload):
    """An error: the class of our exception, its cause and its remedy."""

    VERSION = '1.0'
    fields = {
        'exception': fields.StringField(),
        'message': fields.StringField(),
    }


class SandboxPayload(_Payload):
    """The VM of a pod.

    pod_uuid: UUID of the Zun container or capsule; kind: container or
    capsule; occurred_at: the time at which containerd saw the event, not
    the time of sending.
    """

    VERSION = '1.0'
    fields = {
        'sandbox_id': fields.StringField(nullable=True),
        'pod_uuid': fields.UUIDField(),
        'kind': fields.EnumField(['container', 'capsule']),
        'project_id': fields.StringField(),
        'user_id': fields.StringField(),
        'host': fields.StringField(),
        'handler': fields.StringField(nullable=True),
        'occurred_at': fields.DateTimeField(),
        'exit_code': fields.IntegerField(nullable=True),
        'fault': fields.ObjectField('FaultPayload', nullable=True),
    }


class ContainerPayload(_Payload):
    """One container. For a Zun container, uuid and pod_uuid are the same.

    reason: OOMKilled, or null; exit_code: null if it is unknown.
    """

    VERSION = '1.0'
    fields = {
        'uuid': fields.UUIDField(),
        'container_id': fields.StringField(nullable=True),
        'pod_uuid': fields.UUIDField(),
        'kind': fields.EnumField(['container', 'capsule']),
        'project_id': fields.StringField(),
        'user_id': fields.StringField(),
        'host': fields.StringField(),
        'handler': fields.StringField(nullable=True),
        'image': fields.StringField(nullable=True),
        'occurred_at': fields.DateTimeField(),
        'exit_code': fields.IntegerField(nullable=True),
        'reason': fields.StringField(nullable=True),
        'fault': fields.ObjectField('FaultPayload', nullable=True),
    }


for _class in (FaultPayload, SandboxPayload, ContainerPayload):
    base.VersionedObjectRegistry.register(_class)
