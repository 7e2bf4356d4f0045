# SPDX-License-Identifier: Apache-2.0
"""What every dialect of language models stands on, above the relay.

fields.py      the body of a request, read once
desk.py        the model, its owner's defaults, the question to the child
pictures.py    pictures in messages, made safe
tools.py       tool calls that hold: what is asked
calls.py       tool calls that hold: what is read
history.py     tool calls and their results in words
calling.py     tool calls that hold: the asking itself, whole or in pieces
conversing.py  chats with tools or pictures: what the loaded model makes of them
events.py      the child's stream, read
"""
