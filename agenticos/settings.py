"""All settings, from the environment; `.env.example` explains each variable.

`manage.py` in a second shell finds the same values as `make run`: it reads `.env`, else
`var/local.env`, which `make run` writes.
"""

from __future__ import annotations

import base64
import zoneinfo
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from agenticos import logs
from agenticos.variables import (
    BASE_DIR,
    VAR_DIR,
    address,
    env,
    number,
    one_of,
    origin,
    switch,
    url_config,
    wrong,
)

# --- Identity and hosts -----------------------------------------------------------------------
LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "testserver"}

DEBUG = switch("DEBUG", False)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Local means that nobody but this machine can reach it; anything else must be safe at the start.
IS_LOCAL = all(host in LOOPBACK for host in ALLOWED_HOSTS)
SECRET_KEY = env.str("SECRET_KEY", "")
CREDENTIAL_KEYS = env.str("CREDENTIAL_KEYS", "")
for _name, _value in (("SECRET_KEY", SECRET_KEY), ("CREDENTIAL_KEYS", CREDENTIAL_KEYS)):
    if not _value:
        raise ImproperlyConfigured(
            f"{_name} is not set. `make run` makes one in var/local.env; elsewhere set it as "
            ".env.example shows."
        )
JWT_KEYS = env.str("JWT_KEYS", "")  # none: the API takes keys alone and hands out no tokens
for _name, _value in (("CREDENTIAL_KEYS", CREDENTIAL_KEYS), ("JWT_KEYS", JWT_KEYS)):
    for _part in _value.split(",") if _value else ():
        try:
            _bytes = base64.b64decode(_part.partition(":")[2].strip(), validate=True)
        except ValueError:
            _bytes = b""
        if len(_bytes) != 32 or not _part.partition(":")[0].strip():
            raise wrong(_name, "name:base64 of 32 bytes, the newest first, by commas", show=False)
        if _name == "JWT_KEYS" and _part.partition(":")[2].strip() in CREDENTIAL_KEYS:
            raise wrong(_name, "keys that are not in CREDENTIAL_KEYS as well", show=False)
if SECRET_KEY in CREDENTIAL_KEYS:
    raise wrong("SECRET_KEY", "a value that is not in CREDENTIAL_KEYS as well", show=False)
if not IS_LOCAL:
    if DEBUG:
        raise ImproperlyConfigured("DEBUG is on while ALLOWED_HOSTS names a public host.")
    if "*" in ALLOWED_HOSTS:
        raise ImproperlyConfigured("ALLOWED_HOSTS is '*'; expected the names of this service.")
    if len(SECRET_KEY) < 50 or SECRET_KEY.startswith("change-me"):
        raise ImproperlyConfigured("SECRET_KEY is too short or an example; expected 50 or more.")

# --- Applications -----------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "csp",
    "django_htmx",
    "django_q",
    "rest_framework",
    "drf_spectacular",
    "template_partials",
    "agenticos",
    "tenants",
    "integrations",
    "leads",
    "campaigns",
]
MIDDLEWARE = [
    "agenticos.middleware.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "tenants.middleware.ScopeMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tenants.sessions.SessionLifeMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "tenants.middleware.LoginMiddleware",
    "tenants.middleware.TenantMiddleware",
    "tenants.middleware.LanguageMiddleware",
]
ROOT_URLCONF = "agenticos.urls"
WSGI_APPLICATION = "agenticos.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "NAME": "django",  # by which template_partials finds it
        "BACKEND": "agenticos.templating.Templates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["template_partials.templatetags.partials"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "tenants.context.shell",
            ],
        },
    }
]

# --- Data -------------------------------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", "")
if DATABASE_URL:
    _example = "postgres://user:password@host:5432/name"
    DATABASES: dict[str, dict[str, Any]] = {
        "default": url_config("DATABASE_URL", env.db_url_config, _example)
    }
    if not DATABASES["default"]["ENGINE"].endswith(("sqlite3", "postgresql")):
        raise wrong("DATABASE_URL", f"an address such as {_example}", show=False)
else:
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": VAR_DIR / "db.sqlite3"}
    }
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    # IMMEDIATE: a writer waits at BEGIN instead of failing in the middle. FULL: a committed
    # "dispatched" mark survives a power cut, or the message could go out twice.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32000;"
        ),
    }
else:
    # Django's backend, with row-level security: each statement runs in the scope in force.
    _database["ENGINE"] = "agenticos.postgres"
    # No "pool": django-q2 forks, and a pool made before the fork corrupts the protocol.
    _database["CONN_MAX_AGE"] = 600
    _database["CONN_HEALTH_CHECKS"] = True
    _database["DISABLE_SERVER_SIDE_CURSORS"] = True  # PgBouncer in transaction mode
    _database["OPTIONS"] = {
        "connect_timeout": 3,
        "application_name": "agenticos",
        # Statements of `agenticos.sql` are planned once. PgBouncer knows prepared statements from
        # 1.21 on; before an older one: DATABASE_URL=…?prepare_threshold=1000000000.
        "prepare_threshold": 3,
        **_database.get("OPTIONS", {}),
    }

REDIS_URL = env.str("REDIS_URL", "")
if REDIS_URL and urlsplit(REDIS_URL).scheme not in ("redis", "rediss", "unix"):
    raise wrong("REDIS_URL", "an address such as redis://host:6379/0, or nothing", show=False)
# The database's cache keeps counts of log-in attempts, which nobody may crowd out.
_in_database = {
    "BACKEND": "django.core.cache.backends.db.DatabaseCache",
    "LOCATION": "django_cache",
    "OPTIONS": {"MAX_ENTRIES": 100_000},
}
CACHES: dict[str, dict[str, Any]] = {
    "default": (
        {
            "BACKEND": "agenticos.caching.SteadyRedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
        }
        if REDIS_URL
        else _in_database
    ),
    "database": _in_database,  # what the default falls back on while Redis is away
    # Django-Q2 writes its statistics somewhere every few seconds; nothing of ours reads them.
    "django_q": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR_DIR / "files"},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]

# --- Workers ----------------------------------------------------------------------------------
Q_WORKERS = number("Q_WORKERS", 3)
Q_CLUSTER = {
    "name": "agenticos",
    "orm": "default",
    "cache": "django_q",
    "workers": Q_WORKERS,
    "queue_limit": Q_WORKERS,
    "bulk": 1,
    "poll": 0.2,
    "timeout": 60,
    "retry": 75,  # a ring may come twice without harm; a lost worker's comes back after this
    "max_attempts": 3,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "guard_cycle": 0.5,
    "recycle": 5000,
    "max_rss": 300_000,
    "scheduler": False,  # the supervisor's tick is the clock; see agenticos/worker/
    "label": "Queue",
    "log_level": "WARNING",
}
# What the tick rings, and how each says when it next has something to do
WAKE_UPS = {
    "campaigns.tasks.send_slice": "campaigns.tasks.next_send_at",
    "campaigns.tasks.reap": "campaigns.tasks.next_reap_at",
    "campaigns.tasks.prepare_slice": "campaigns.tasks.next_prepare_at",
    "campaigns.tasks.start_due": "campaigns.tasks.next_start_at",
    "campaigns.tasks.send_tests": "campaigns.tasks.next_test_at",
    "integrations.tasks.sync_slice": "integrations.tasks.next_sync_at",
    "leads.tasks.import_slice": "leads.tasks.next_import_at",
    "leads.tasks.rescore_slice": "leads.tasks.next_rescore_at",
    "leads.tasks.bulk_slice": "leads.tasks.next_bulk_at",
    "tenants.tasks.seal_slice": "tenants.tasks.next_seal_at",
    "tenants.tasks.retention_slice": "tenants.tasks.next_retention_at",
    "agenticos.checking.check_slice": "agenticos.checking.next_check_at",
}

# --- People -----------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "tenants.passwords.MaximumLengthValidator", "OPTIONS": {"max_length": 128}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "tenants.passwords.ProductWordsValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "tenants.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# A code typed into the same browser, not a link: an address is changed under a second factor too.
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_CHANGE_EMAIL = True  # one address each; the old one holds until the new one is proven
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[AgenticOS] "
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # a reset asked for a stranger's address mails nobody
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = FRESH_S = 300
ACCOUNT_FORMS = {"login": "tenants.account_forms.LoginForm"}
TRUSTED_PROXIES = number("TRUSTED_PROXIES", 0, least=0)
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
# The second factor. Required of owners, managers and staff; and of all where a workspace says so.
REQUIRE_MFA = switch("REQUIRE_MFA", True)
MFA_ADAPTER = "tenants.second_factor.Adapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "AgenticOS"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = IS_LOCAL  # http://localhost, for the demo
MFA_FORMS = {
    "authenticate": "tenants.account_forms.AuthenticateForm",
    "reauthenticate": "tenants.account_forms.ReauthenticateForm",
    "authenticate_webauthn": "tenants.account_forms.AuthenticateWebAuthnForm",
    "reauthenticate_webauthn": "tenants.account_forms.ReauthenticateWebAuthnForm",
    "login_webauthn": "tenants.account_forms.LoginWebAuthnForm",
    "add_webauthn": "tenants.account_forms.AddWebAuthnForm",
    "edit_webauthn": "tenants.account_forms.EditWebAuthnForm",
}

# Log-in through a company's own OpenID Connect provider; off where no server is named. It opens
# existing accounts by a verified address and stores nothing of its own (tenants/oidc.py).
OIDC_SERVER_URL = (
    address("OIDC_SERVER_URL", "https://unset") if env.str("OIDC_SERVER_URL", "") else ""
)
OIDC_NAME = env.str("OIDC_NAME", "") or urlsplit(OIDC_SERVER_URL).hostname or ""
if OIDC_SERVER_URL and not (OIDC_SERVER_URL.startswith("https://") or IS_LOCAL):
    raise wrong("OIDC_SERVER_URL", "an https address, since a person's identity comes from it")
if OIDC_SERVER_URL and not (env.str("OIDC_CLIENT_ID", "") and env.str("OIDC_CLIENT_SECRET", "")):
    raise ImproperlyConfigured("OIDC_SERVER_URL takes OIDC_CLIENT_ID and OIDC_CLIENT_SECRET.")
SOCIALACCOUNT_ADAPTER = "tenants.oidc.Adapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = False
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": OIDC_NAME,
                "client_id": env.str("OIDC_CLIENT_ID", ""),
                "secret": env.str("OIDC_CLIENT_SECRET", ""),
                "settings": {"server_url": OIDC_SERVER_URL, "fetch_userinfo": False},
            }
        ]
        if OIDC_SERVER_URL
        else [],
    }
}

# --- Programs ---------------------------------------------------------------------------------
# A view says itself who may come in (agenticos/api/base.py); one that does not stays closed.
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "agenticos.api.problems.handle",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": False,
}
# How often programs may call, as (calls a minute, calls at once): each key; above it all keys of a
# tenant together; and an address whose calls come without a good key.
_per_key, _per_tenant = number("API_KEY_PER_MINUTE", 600), number("API_TENANT_PER_MINUTE", 3000)
API_LIMITS: dict[str, tuple[int, int]] = {
    "key": (_per_key, _per_key),
    "tenant": (_per_tenant, _per_tenant),
    "stranger": (30, 30),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AgenticOS",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SORT_OPERATIONS": False,
    "PREPROCESSING_HOOKS": ["agenticos.api.schema.ours"],
    "POSTPROCESSING_HOOKS": ["agenticos.api.schema.finish"],
}

# --- Language and time ------------------------------------------------------------------------
LANGUAGE_CODE = one_of("LANGUAGE_CODE", "en", ("en", "pt-br"))
LANGUAGES = [("en", _("English")), ("pt-br", _("Portuguese (Brazil)"))]
LOCALE_PATHS = [BASE_DIR / "agenticos" / "locale"]
TIME_ZONE = env.str("TIME_ZONE", "America/Sao_Paulo")
if TIME_ZONE not in zoneinfo.available_timezones():
    raise wrong("TIME_ZONE", "an IANA time zone, such as America/Sao_Paulo")
USE_I18N = True
USE_TZ = True

# --- Browser ----------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        # The log-in button posts to us and is sent on to the provider.
        "form-action": [SELF, *([origin(OIDC_SERVER_URL)] if OIDC_SERVER_URL else [])],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 14 * 24 * 3600  # with "keep me signed in"; else see the next three
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_IDLE_S = 3 * 3600
SESSION_MOST_S = 12 * 3600
CSRF_FAILURE_VIEW = "agenticos.pages.csrf_failure"
if not IS_LOCAL:
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# --- Mail -------------------------------------------------------------------------------------
EMAIL_FILE_PATH = VAR_DIR / "mail"
EMAIL_TIMEOUT = 10
if _email_url := env.str("EMAIL_URL", ""):
    vars().update(
        url_config("EMAIL_URL", env.email_url_config, "smtp+tls://user:password@host:587")
    )
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "AgenticOS <agenticos@example.com>")

# --- Providers --------------------------------------------------------------------------------
GHL_BASE_URL = address("GHL_BASE_URL", "https://services.leadconnectorhq.com")
GHL_API_VERSION = env.str("GHL_API_VERSION", "")
INSTAGRAM_GRAPH_BASE_URL = address("INSTAGRAM_GRAPH_BASE_URL", "https://graph.instagram.com/v25.0")
HTTP_TIMEOUT_S = number("HTTP_TIMEOUT_S", 20)
OUTBOUND_ALLOW_PRIVATE = switch("OUTBOUND_ALLOW_PRIVATE", False)
SANDBOX_PORT = number("SANDBOX_PORT", 9009)

if not IS_LOCAL:
    if OUTBOUND_ALLOW_PRIVATE:
        raise wrong("OUTBOUND_ALLOW_PRIVATE", "off where ALLOWED_HOSTS names a public host")
    for _name, _value in (
        ("GHL_BASE_URL", GHL_BASE_URL),
        ("INSTAGRAM_GRAPH_BASE_URL", INSTAGRAM_GRAPH_BASE_URL),
    ):
        if not _value.startswith("https://"):
            raise wrong(_name, "an https address: credentials travel to it")
    if any(not origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS):
        raise wrong("CSRF_TRUSTED_ORIGINS", "https origins, such as https://app.example.com")
    if len(set(SECRET_KEY)) < 12:
        raise wrong("SECRET_KEY", "50 or more random characters", show=False)
    if any(len(set(base64.b64decode(p.partition(":")[2]))) < 8 for p in CREDENTIAL_KEYS.split(",")):
        raise wrong("CREDENTIAL_KEYS", "keys of 32 random bytes", show=False)

# --- The engine -------------------------------------------------------------------------------
SLICE_BUDGET_S = 20  # far under Q_CLUSTER["timeout"], so that a slice always ends by itself
SEND_THREADS = 8  # messages in flight per worker; also what a SIGKILL can leave `unknown`
SEND_BATCH = 250  # rows claimed at once, at the most
# A claim outlives the longest call it guards: a call is begun only while the lease lasts longer
# than the call's deadline, so an expired lease proves that nobody is calling any more.
LEASE_S = 3 * HTTP_TIMEOUT_S
FENCE_MARGIN_S = 1.25 * HTTP_TIMEOUT_S
SEND_MAX_ATTEMPTS = 6
SYNC_MAX_ATTEMPTS = 10

# --- Watching ---------------------------------------------------------------------------------
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
if METRICS_TOKEN and len(METRICS_TOKEN) < 20:
    raise wrong("METRICS_TOKEN", "20 or more random characters, or nothing", show=False)
SENTRY_DSN = env.str("SENTRY_DSN", "")
if SENTRY_DSN and not (urlsplit(SENTRY_DSN).username and urlsplit(SENTRY_DSN).hostname):
    raise wrong("SENTRY_DSN", "an address such as https://key@host/1, or nothing", show=False)
SENTRY_ENVIRONMENT = env.str("SENTRY_ENVIRONMENT", "") or ("local" if IS_LOCAL else "production")
SENTRY_RELEASE = env.str("SENTRY_RELEASE", "")

# --- Personal data ----------------------------------------------------------------------------
# What the rooms above `leads` know of a person: called by name, since imports go down.
PERSONAL_DATA = ["campaigns.personal"]
# What another ICP means for them, for the same reason.
ICP_TOUCHES = "campaigns.touched.campaigns_touched"
# What each room keeps only for a time (tenants/retention.py).
RETENTION = ["leads.keeping", "integrations.keeping", "tenants.keeping"]

# --- Logs -------------------------------------------------------------------------------------
LOG_FORMAT = one_of("LOG_FORMAT", "console", ("console", "json"))
LOG_LEVEL = one_of("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = logs.config(LOG_FORMAT, LOG_LEVEL)
