"""The version of graphkit, in this one place."""

VERSION = "0.1.0"
