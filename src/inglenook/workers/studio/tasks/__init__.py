# SPDX-License-Identifier: Apache-2.0
"""What the worker knows of each kind of task. The server has its half, under the same name, in
`studio/tasks`.

model           the protocol
classification  one class a picture
losses          cross entropy and focal, on hard and on mixed targets
registry        by name
"""
