"""The pack in the worker processes of raylight, which sample one model on several cards through Ray."""
