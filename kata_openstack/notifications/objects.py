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

A field that is added raises the minor version; anything else the major
one. One sample of each notification is kept in doc/notification_samples.
Nothing here is taken from a container's environment or command.
"""

from oslo_versionedobjects import base
from oslo_versionedobjects import fields


class _Payload(base.VersionedObject):
    OBJ_SERIAL_NAMESPACE = 'kata_openstack_object'
    OBJ_PROJECT_NAMESPACE = 'kata_openstack'


class FaultPayload(_Payload):
    """Why something failed: our exception's class, cause and remedy."""

    VERSION = '1.0'
    fields = {
        'exception': fields.StringField(),
        'message': fields.StringField(),
    }


class SandboxPayload(_Payload):
    """The VM of a pod.

    pod_uuid: the Zun container's or capsule's; kind: which of them;
    occurred_at: when containerd saw it, not when it was sent.
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
    """One container. For a Zun container uuid and pod_uuid are the same.

    reason: OOMKilled, or null; exit_code: null when it is not known.
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
