"""Databases that earlier versions have filled, brought to this version's schema."""
