# Two stages: the first one builds, the second one runs, as nobody special and without a compiler.
FROM python:3.12-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir -r requirements.txt
COPY . .
# Static files need settings, and settings need keys: these live for one command.
RUN SECRET_KEY="build-only-$(head -c 48 /dev/urandom | base64 -w0 | tr -d '/+=')" \
    CREDENTIAL_KEYS="build:$(head -c 32 /dev/urandom | base64 -w0)" \
    /venv/bin/python manage.py collectstatic --noinput && \
    /venv/bin/python -m compileall -q agenticos campaigns integrations leads tenants && \
    mkdir var/files && mv var /var-of-app

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin app
WORKDIR /app
COPY --from=build /venv /venv
# The code stays root's, so that what runs cannot change itself; a fresh volume for the files takes
# its owner from the folder here.
COPY --from=build /app /app
COPY --from=build --chown=app:app /var-of-app /app/var
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 LOG_FORMAT=json
USER app
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "manage.py", "web", "--host", "0.0.0.0", "--port", "8000"]
