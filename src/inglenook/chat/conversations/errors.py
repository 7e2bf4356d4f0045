# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a conversation."""

from inglenook.base.errors import Conflict, Invalid, NotFound


class ConversationNotFound(NotFound):
    default_code = "conversation.not_found"


class MessageNotFound(NotFound):
    default_code = "message.not_found"


class PresetNotFound(NotFound):
    default_code = "preset.not_found"


class BadMessage(Invalid):
    """A message, a parameter or a file that cannot be taken; `field` names it."""

    default_code = "message.invalid"


class StillWriting(Conflict):
    """The answer is being written, so it cannot be answered to yet."""

    default_code = "message.writing"
