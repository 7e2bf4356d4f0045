# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a language model that is asked for."""

from inglenook.base.errors import Conflict, Invalid


class WrongTask(Invalid):
    """A model that cannot do what the route is for."""

    default_code = "model.wrong_task"


class AliasTaken(Conflict):
    default_code = "options.alias_taken"


class NotLoaded(Conflict):
    default_code = "model.not_loaded"
