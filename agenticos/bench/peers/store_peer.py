"""A table behind HTTP, as the first system kept its rows; it outlives the kills."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException

app = FastAPI()
sent: set[str] = set()


@app.get("/dm_sent")
def everything() -> list[str]:
    return sorted(sent)


@app.get("/dm_sent/{recipient}")
def one(recipient: str) -> str:
    if recipient not in sent:
        raise HTTPException(404)
    return recipient


@app.put("/dm_sent/{recipient}")
def write(recipient: str) -> str:
    sent.add(recipient)
    return recipient


@app.delete("/dm_sent")
def forget() -> None:
    sent.clear()
