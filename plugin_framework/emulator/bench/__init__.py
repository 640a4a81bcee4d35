"""Offers a plugin service tasks at a rate, and measures what becomes of them."""
