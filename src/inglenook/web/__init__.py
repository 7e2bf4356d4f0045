# SPDX-License-Identifier: Apache-2.0
"""The page in the browser: Jinja2 on our side, HTMX and plain scripts on the other, from no other host.

pages.py       whole pages and their forms; `web_router` is what `app.py` mounts
fragments.py   parts of the page, for its scripts
stream.py      all news of an open page in one stream
settings_pages.py, login_pages.py   the settings, and who may change them
gallery_pages.py, shelf.py       the gallery, and how its pictures and filters look
activity_pages.py, activity.py   what the machine does, its stream, and how that looks
chat_pages.py, chat_stream.py, talks.py    conversations, what an open one is told, and how they look
contexts.py    what the templates are given, gathered from the services; asking.py: the same for the form
cards.py, pictures.py, models.py, fire.py, words.py    how each thing looks and what is said of it; pure
form.py        what was typed ↔ an `ImageRequest`; pure
again.py       the form filled again from what was drawn; pure
ranges.py      what its fields accept with one model; pure
sending.py     a form that was sent, on its way to the queue; inputs.py: pictures that came before it
pixel/          the room of pixel art
csrf.py        the token that a form must bring back
templating.py  Jinja2, static files, errors as a page
services.py    what is needed of the services below
"""
