#!/usr/bin/env python3
"""Proves a date from what it rests on, without Holdover: holdover deadline evidence … | prove-a-date.py

Reads the windows as they were published and restored, the rule of each and the papers' days, and counts.
Rules that shift by the length of a stop, conditions and no_leapfrog are not counted here: it says so. What
earlier versions of a window told, and what people were told (`told`), can only make a date later.
"""
import json, sys
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

proof = json.load(sys.stdin)
free, worked = set(proof["calendar"]["free"]), set(proof["calendar"]["worked"])
works = lambda day: str(day) in worked or (day.weekday() < 5 and str(day) not in free)
instant = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00"))
names = lambda patterns: not patterns or any(
    p == proof["business"] or p.endswith("*") and proof["business"].startswith(p[:-1]) for p in patterns)
covers = lambda act, part: names(act.get("business")) and all(
    set(part.get(name) or [None]) <= set(wanted) for name, wanted in act.items() if wanted and name != "business")
moved = date.fromisoformat(proof["original"])
for _ in range(100):
    before = moved
    for window in proof["windows"]:
        rule, zone = window["deadlines"], ZoneInfo(window["zone"])
        if rule.get("only_if") or rule.get("no_leapfrog") or "shift_by_outage" in str(rule["rule"]):
            sys.exit(f"{window['id']}: this rule is not counted here")
        rows = [r for r in window["policy"] if names(r["cells"].get("business"))
                and r["disposition"] not in ("pass", "pass_or_ticket", "pass_or_hold")]
        told = window["published"]
        start = min([instant(r.get("starts_at") or told["start"]) for r in rows] or [instant(told["start"])])
        end = max([instant(r.get("ends_at") or told["end"]) for r in rows] or [instant(told["end"])])
        for row in rows or [{"cells": {}}]:
            for part in row["cells"].get("upstream") or rule.get("restart_of") or [None]:
                back = [instant(a.get("ready_from") or a["at"]) for a in window["restores"]
                        if covers(a["cells"], dict(row["cells"], upstream=[part])) and start <= instant(a["at"])]
                end = max(end, min(back)) if back else end
        due = datetime.combine(before + timedelta(1), time(), zone)
        if rule.get("day_ends_at"):
            due = datetime.combine(before, time.fromisoformat(rule["day_ends_at"]), zone)
        if not start < due <= end:
            continue
        back, kind = end.astimezone(zone), rule["rule"]
        name, count = (kind, 0) if isinstance(kind, str) else next(iter(kind.items()))
        day = back.date()
        if name == "fixed_date":
            day = date.fromisoformat(count)
        elif name == "restore_plus_working_days":
            while count:
                day += timedelta(1)
                count -= works(day)
        else:
            day += timedelta(count if name == "restore_plus_days" else
                             works(day) and back.time() > time.fromisoformat(rule["opens_at"]))
            while not works(day):
                day += timedelta(1)
        moved = max(moved, day)
    if moved == before:
        break
if proof["effective"] > str(moved):
    print(f"{proof['effective']} was told before, and holds", file=sys.stderr)
print(moved)
