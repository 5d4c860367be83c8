"""Copying files between the host and the guest: both ends of `rum cp`, as a stream of frames between them.

The standard library of Python 3.9 and nothing else, because the host sends these sources to the guest and runs one end
of every copy there, as the user that the files are to belong to (`rum.host.cp`).
"""
