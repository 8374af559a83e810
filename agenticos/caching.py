"""A cache in Redis that goes on without it: whoever logs in is not to notice that Redis is away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class SteadyRedisCache(RedisCache):
    """Redis, and while it does not answer the `database` cache.

    The two do not know of each other's values: what was counted in one starts anew in the other.
    Whatever must be exact is not kept in a cache (tenants/attempts.py).
    """

    def _steady(self, name: str, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return ask(*args, **kwargs)
        except RedisError:
            logger.warning("cache.redis_away operation=%s", name)
            return getattr(caches["database"], name)(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._steady("add", super().add, *args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._steady("get", super().get, *args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return self._steady("set", super().set, *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._steady("delete", super().delete, *args, **kwargs)
