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

"""Configuration of the documentation's build."""

import os
import sys

sys.path.insert(0, os.path.abspath('../..'))

extensions = [
    'cliff.sphinxext',
    'openstackdocstheme',
    'oslo_config.sphinxconfiggen',
    'oslo_config.sphinxext',
    'sphinx.ext.autodoc',
]
project = 'kata-openstack'
copyright = 'OpenStack contributors'
html_theme = 'openstackdocs'
pygments_style = 'native'

openstackdocs_repo_name = 'openstack/kata-openstack'
openstackdocs_auto_name = False
openstackdocs_auto_version = False

config_generator_config_file = '../../etc/kata-openstack/config-generator.conf'
sample_config_basename = '_static/kata-openstack'
autoprogram_cliff_application = 'kata-openstack'
