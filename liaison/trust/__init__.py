"""Where certificates, agreements and MLS meet: whom to believe, and what a channel is bound to.

Used by the relay and by clients alike, so nothing here can reach a group's
secrets.
"""

from liaison.trust.acceptance import NotOurAuthorityError, accept_agreement
from liaison.trust.binding import CHANNEL_BINDING_EXTENSION, BindingError, ChannelBinding
from liaison.trust.credentials import AgreementValidator, PartyValidator, certified_leaf
from liaison.trust.release import ReleaseInvalidError, check_content, sign_draft, verify_release

__all__ = [
    "CHANNEL_BINDING_EXTENSION",
    "AgreementValidator",
    "BindingError",
    "ChannelBinding",
    "NotOurAuthorityError",
    "PartyValidator",
    "ReleaseInvalidError",
    "accept_agreement",
    "certified_leaf",
    "check_content",
    "sign_draft",
    "verify_release",
]
