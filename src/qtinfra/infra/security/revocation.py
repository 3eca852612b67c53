"""Tokens that end before their time: by token id, by subject, or all that were issued before a moment.

Kept in memory and asked at each use of a token, a cached one too. Bounded: what names a token that has ended
anyway is dropped, and a full register refuses new entries aloud instead of forgetting old ones.
"""

from __future__ import annotations

from qtinfra.core.exceptions import OverloadedError


class Revocations:
    """What has been revoked. For one thread.

    Args:
        max_entries: how many token ids, and how many subjects, are held at a time.
        keep_s: how long a subject's entry must be kept: the longest life of a token plus the leeway.
    """

    def __init__(self, max_entries: int = 100_000, keep_s: int = 86_460) -> None:
        self._max_entries = max_entries
        self._keep_s = keep_s
        self._tokens: dict[str, int] = {}  # jti -> UTC seconds at which the entry is dropped
        self._subjects: dict[str, int] = {}  # subject -> tokens issued before this second are refused
        self._everybody_s: int | None = None

    def revoke_token(self, token_id: str, ends_s: int, now_s: float) -> None:
        """Refuse one token.

        Args:
            ends_s: when it ends anyway, leeway included; UTC seconds.

        Raises:
            OverloadedError: too many live entries; revoke by subject or by moment instead.
        """
        if token_id not in self._tokens and len(self._tokens) >= self._max_entries:
            self._tokens = {key: end for key, end in self._tokens.items() if end > now_s}
            self._require_room(len(self._tokens), "token ids")
        self._tokens[token_id] = max(ends_s, self._tokens.get(token_id, ends_s))

    def revoke_subject(self, subject: str, issued_before_s: int, now_s: float) -> None:
        """Refuse what a subject was issued before a moment (UTC seconds); what is issued later is good.

        Raises:
            OverloadedError: too many live entries; revoke by moment instead.
        """
        if subject not in self._subjects and len(self._subjects) >= self._max_entries:
            oldest = now_s - self._keep_s
            self._subjects = {key: moment for key, moment in self._subjects.items() if moment > oldest}
            self._require_room(len(self._subjects), "subjects")
        self._subjects[subject] = max(issued_before_s, self._subjects.get(subject, issued_before_s))

    def revoke_issued_before(self, moment_s: int) -> None:
        """Refuse everybody's tokens that were issued before a moment (UTC seconds). It never moves back."""
        self._everybody_s = moment_s if self._everybody_s is None else max(moment_s, self._everybody_s)

    def covers(self, token_id: str, subject: str, issued_s: int) -> bool:
        """Whether a token is revoked."""
        if token_id in self._tokens:
            return True
        if self._everybody_s is not None and issued_s < self._everybody_s:
            return True
        before = self._subjects.get(subject)
        return before is not None and issued_s < before

    def _require_room(self, held: int, what: str) -> None:
        if held >= self._max_entries:
            raise OverloadedError(
                f"the register of revoked {what} is full ({held})",
                context={"rule": "revocations_full", "limit": self._max_entries, "value": held},
            )
