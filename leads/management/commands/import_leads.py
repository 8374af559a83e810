"""`manage.py import_leads TENANT FILE.csv`: import leads in the foreground, with a progress bar.

Exit code 0 when every row went in, 1 when a row was refused, 2 when nothing could be begun.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from tqdm import tqdm

from agenticos import scope
from agenticos.clock import Clock
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost, give_back, new_token
from leads import actions, importing, intake
from leads.models import ImportProblem, LeadImport
from leads.upserting import Fates, Problem
from tenants.models import Tenant

SHOWN = 10  # refused rows that are named on the terminal


class Command(BaseCommand):
    help = "Import a CSV file of leads into a tenant and score them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's address, such as acme")
        parser.add_argument("file", type=Path, help="CSV file, at most 64 MB")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only count")
        parser.add_argument(
            "--mapping",
            type=Path,
            metavar="FILE",
            help='JSON: {"column name": "field"}, or, with overwrite, fill or keep, '
            '{"column name": {"field": "…", "policy": "fill"}}; null leaves a column out, '
            "columns not named are guessed",
        )
        parser.add_argument(
            "--policy",
            choices=LeadImport.Policy.values,
            default=str(LeadImport.Policy.OVERWRITE),
            help="what a row does to known leads where its column says nothing else",
        )
        parser.add_argument("--list", default="", metavar="NAME", help="tag for all its leads")
        parser.add_argument(
            "--rejects", type=Path, metavar="FILE", help="write the refused rows to this CSV file"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=2)
        with _opened(options["file"]) as stream, scope.as_tenant(tenant):
            found, own = _inspect(stream, options["mapping"])
            rules = _Rules(options["policy"], own)
            if options["rejects"]:
                _opened(options["rejects"], "wb").close()  # better now than after the import
            if found.dialect.assumed:
                self.stderr.write(importing.sentence_for("encoding_assumed"))
            if options["dry_run"]:
                fates = _rehearse(stream, found, rules)
                refused: Iterable[Problem] = [p for p in fates.problems if p.rejected]
            else:
                row = self._import(
                    tenant, stream, found, options["file"].name, options["list"], rules
                )
                fates = Fates(row.created, row.updated, row.unchanged, row.rejected, row.warned)
                refused = _problems(row)
            if options["rejects"]:
                _write_rejects(options["rejects"], found, refused)
            self._report(fates, refused, dry=options["dry_run"], written=options["rejects"])
        if fates.rejected:
            sys.exit(1)

    def _import(
        self,
        tenant: Tenant,
        stream: BinaryIO,
        found: intake.Inspected,
        name: str,
        tag: str,
        rules: _Rules,
    ) -> LeadImport:
        """Store the file as an import and work it here, holding its lease against the workers."""
        clock, token = Clock(), new_token()
        try:
            with transaction.atomic():
                row = actions.start_import(
                    tenant,
                    File(stream),
                    name,
                    list_name=tag,
                    mapping=found.mapping,
                    policy=rules.policy,
                    policies=rules.policies,
                    by=None,
                    now=clock.now(),
                )
                intake.lease(row, token=token, now=clock.now())
        except Refused as error:
            raise CommandError(str(error), returncode=2) from error
        try:
            with _bar(row.size) as bar:
                ahead, done = intake.Ahead(), False
                while not done:
                    before = row.offset
                    done = intake.work_chunk(row, token=token, now=clock.now(), ahead=ahead)
                    bar.update(row.offset - before)
        except LeaseLost:
            raise CommandError("A worker has taken this import over and goes on with it.") from None
        except KeyboardInterrupt:
            give_back(row, token=token)
            raise CommandError(
                "Stopped. The workers go on with this import.", returncode=130
            ) from None
        except Exception:
            intake.put_off(row, token=token, now=clock.now())
            raise
        if row.state == LeadImport.State.FAILED:
            raise CommandError(row.error)
        return row

    def _report(
        self,
        fates: Fates,
        refused: Iterable[Problem],
        *,
        dry: bool,
        written: Path | None,
    ) -> None:
        for name in ("created", "updated", "unchanged", "rejected"):
            self.stdout.write(f"{name}: {getattr(fates, name)}")
        self.stdout.write(f"warnings: {fates.warned}")
        if dry:
            self.stdout.write("Nothing was changed (--dry-run).")
        for number, problem in enumerate(refused):
            if number == SHOWN:
                more = fates.rejected - SHOWN
                where = f"see {written}" if written else "--rejects FILE writes them all"
                self.stderr.write(f"… and {more} more; {where}.")
                break
            self.stderr.write(f"line {problem.line}: {_reason(problem)}")


def _opened(file: Path, mode: Literal["rb", "wb"] = "rb") -> BinaryIO:
    try:
        return file.open(mode)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}.", returncode=2) from error


class _Rules(NamedTuple):
    """What rows do to known leads: the import's policy, and those of single fields."""

    policy: str
    policies: dict[str, str]


def _inspect(
    stream: BinaryIO, mapping_file: Path | None
) -> tuple[intake.Inspected, dict[str, str]]:
    """What the file is, and the policies of single fields that the mapping names."""
    try:
        mapping: dict[int, str] | None = None
        policies: dict[str, str] = {}
        if mapping_file:
            headers = importing.read_header(stream, importing.sniff_stream(stream))
            guessed = importing.guess_mapping(headers)
            mapping, policies = _mapping(mapping_file, headers, guessed)
        return intake.inspect(stream, mapping), policies
    except importing.BadFile as error:
        raise CommandError(error.sentence, returncode=2) from error
    except Refused as error:
        raise CommandError(str(error), returncode=2) from error


def _bar(size: int) -> Any:
    return tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr, leave=False)


def _rehearse(stream: BinaryIO, found: intake.Inspected, rules: _Rules) -> Fates:
    total = Fates()
    size = stream.seek(0, 2)
    with _bar(size) as bar:
        try:
            for fates, place in intake.rehearse(
                stream, found, policy=rules.policy, policies=rules.policies
            ):
                for name in ("created", "updated", "unchanged", "rejected", "warned"):
                    setattr(total, name, getattr(total, name) + getattr(fates, name))
                total.problems += fates.problems
                bar.update(place.offset - bar.n)
        except Refused as error:
            raise CommandError(str(error)) from error
    return total


# --- The mapping --------------------------------------------------------------------------------


def _mapping(
    file: Path, headers: list[str], guessed: Mapping[int, str]
) -> tuple[dict[int, str], dict[str, str]]:
    """The guess with what the file says about its columns, and the policies of single fields.

    What the file says wins.
    """
    with _opened(file) as stream:
        try:
            given = json.load(stream)
        except ValueError as error:
            raise CommandError(f"{file} is not JSON: {error}.", returncode=2) from error
    if not isinstance(given, dict):
        raise CommandError(f"{file}: expected an object, column name → field.", returncode=2)
    policies: dict[str, str] = {}
    for column, target in list(given.items()):
        if isinstance(target, dict):
            given[column] = target.get("field")
            policies.update(_own_policy(file, column, target))
    for column, target in given.items():
        if column not in headers:
            names = ", ".join(headers)
            raise CommandError(
                f"{file}: the CSV file has no column “{column}”. It has: {names}.", returncode=2
            )
        if target is not None and str(target) not in importing.TARGETS:
            fields = ", ".join(importing.TARGETS)
            raise CommandError(
                f"{file}: “{column}” cannot be “{target}”. Fields are: {fields}.", returncode=2
            )
    taken = {target for target in given.values() if target}
    mapping = {
        index: target
        for index, target in guessed.items()
        if headers[index] not in given and target not in taken
    }
    named = {headers.index(column): target for column, target in given.items() if target}
    return mapping | named, policies


def _own_policy(file: Path, column: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The policy of one column, by its field. Ends the command for anything else."""
    if given.keys() - {"field", "policy"} or not isinstance(given.get("field"), str):
        raise CommandError(
            f'{file}: “{column}” takes {{"field": "…", "policy": "…"}}.', returncode=2
        )
    if "policy" not in given:
        return {}
    try:
        return intake.clean_policies({given["field"]: given["policy"]}, "")
    except Refused as error:
        raise CommandError(f"{file}: {error}", returncode=2) from error


# --- Refused rows -------------------------------------------------------------------------------


def _problems(row: LeadImport) -> Iterable[Problem]:
    """The refused rows as they are stored; may be walked through more than once."""

    class Stored:
        def __iter__(self) -> Iterator[Problem]:
            rows = ImportProblem.objects.filter(lead_import=row, rejected=True).order_by("line")
            for one in rows.iterator(chunk_size=1_000):
                yield Problem(one.line, True, one.code, one.params, one.raw)

    return Stored()


def _reason(problem: Problem) -> str:
    return importing.sentence_for(problem.code, problem.params)


def _write_rejects(file: Path, found: intake.Inspected, refused: Iterable[Problem]) -> None:
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(importing.reject_lines(found.headers, refused))
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}.") from error
