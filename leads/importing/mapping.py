"""Which column is what? By what columns are called in English, Portuguese and exports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from leads.identities import fold
from leads.importing.limits import TARGETS

# Target -> names of columns, folded, without anything but letters and digits. English and
# Portuguese, and what the usual scraping tools and CRMs export.
_SYNONYMS: Final[dict[str, str]] = {
    "handle": "handle username user usuario nomedeusuario nomeusuario instagram insta ig ighandle "
    "instagramhandle instagramusername igusername instagramuser arroba perfil conta account login "
    "screenname usuarioinstagram usuariodoinstagram",
    "profile_url": "profileurl profilelink urldoperfil urlperfil linkdoperfil linkperfil url "
    "instagramurl instagramlink linkinstagram linkdoinstagram inputurl profile query",
    "name": "name fullname nome nomecompleto displayname nomedeexibicao contactname contact "
    "contato lead cliente nomedocontato nomedolead",
    "bio": "bio biography biografia description descricao about sobre",
    "followers": "followers followerscount followercount seguidores numerodeseguidores "
    "qtdseguidores qtdeseguidores totalseguidores nseguidores",
    "following": "following followingcount followscount follows followings seguindo numeroseguindo "
    "qtdseguindo totalseguindo seguidos",
    "posts": "posts postscount postcount mediacount publicacoes numerodepublicacoes "
    "qtdpublicacoes postagens qtdposts totalposts totaldeposts",
    "recent_posts": "recentposts recentpostscount postsrecentes publicacoesrecentes "
    "postslast30days postsultimos30dias",
    "engagement": "engagement engagementrate engagementpercent er engajamento taxadeengajamento "
    "taxaengajamento",
    "is_private": "isprivate private privateaccount privado contaprivada perfilprivado privada",
    "is_business": "isbusiness business isbusinessaccount businessaccount comercial "
    "contacomercial perfilcomercial negocio isprofessional isprofessionalaccount",
    "is_verified": "isverified verified verificado verificada contaverificada perfilverificado",
    "category": "category categoryname businesscategory businesscategoryname categoria "
    "categoriadonegocio ramo segmento nicho",
    "frequency": "frequency postingfrequency postfrequency frequencia frequenciadepostagem "
    "frequenciadepostagens frequenciadeposts atividade",
    "email": "email mail emailaddress emails publicemail businessemail correio correioeletronico "
    "enderecodeemail",
    "phone": "phone phonenumber telephone mobile cell cellphone telefone celular whatsapp fone "
    "tel numerodetelefone publicphone publicphonenumber contactphonenumber businessphonenumber "
    "zap numero",
    "city": "city cidade cityname municipio location localizacao local",
    "website": "website site web homepage externalurl link linknabio biolink siteurl websiteurl "
    "pagina externallink linkexterno",
    "ghl_id": "ghlid ghlcontactid ghlcontact contactid gohighlevelid highlevelid idghl "
    "idcontato crmid",
}
_TARGET_BY_NAME: Final = {
    name: target for target, names in _SYNONYMS.items() for name in names.split()
}
_TARGET_BY_NAME.update({target.replace("_", ""): target for target in TARGETS})
_NOT_ALNUM = re.compile(r"[\W_]+")


def target_of(header: str) -> str | None:
    """What a column of this name holds, or None when no name we know is like it."""
    return _TARGET_BY_NAME.get(_NOT_ALNUM.sub("", fold(header)))


def guess_mapping(headers: Sequence[str]) -> dict[int, str]:
    """Map column numbers to `TARGETS` by what the columns are called; unknown ones are left out.

    Each target is taken once: by the column that carries its very name, else by the first.

    >>> guess_mapping(["profileUrl", "username", "fullName", "Seguidores", "colour"])
    {0: 'profile_url', 1: 'handle', 2: 'name', 3: 'followers'}
    """
    mapping: dict[int, str] = {}
    taken: dict[str, int] = {}
    for index, header in enumerate(headers):
        target = target_of(header)
        if target is None:
            continue
        if target in taken:
            if fold(header).strip() != target:
                continue
            del mapping[taken[target]]
        mapping[index] = target
        taken[target] = index
    return dict(sorted(mapping.items()))
