# SPDX-License-Identifier: Apache-2.0
"""The room of pixel art: a picture is dropped or drawn, every field of a recipe has a control, and the sprite
is seen at once. The page's scripts ask /v1/pixel; what is here only says what there is to choose.

controls.py   the fields of a recipe as controls; pure
choices.py    models, LoRAs that fit them, engines and what they can; pure
pages.py      the page
"""
