"""The fragments that demo tickets are put together from: a made-up web shop for bicycle parts, in three languages.

`[a|b]` stands for one of its parts, `{item}` and the like for a drawn word. Topics leak into each other on purpose:
people mention invoices when a parcel is late, and a word alone must not give a label away.
"""

from __future__ import annotations

LANGUAGES = ("en", "de", "es")

ITEMS = {
    "en": "rear light,chain,saddle,helmet,child seat,pump,lock,jacket,phone holder,charger",
    "de": "Rücklicht,Kette,Sattel,Helm,Kindersitz,Pumpe,Schloss,Jacke,Handyhalter,Ladegerät",
    "es": "luz trasera,cadena,sillín,casco,silla infantil,bomba,candado,chaqueta,soporte de móvil,cargador",
}
DAYS = {
    "en": "Monday,Tuesday,Wednesday,Thursday,Friday,Saturday",
    "de": "Montag,Dienstag,Mittwoch,Donnerstag,Freitag,Samstag",
    "es": "lunes,martes,miércoles,jueves,viernes,sábado",
}
PLACES = "Aldern,Bruck,Castel,Dorne,Elmstead,Farrow,Gandra,Holm,Ilsede,Jarve,Kelso,Lindau,Marbe,Norden,Ostra,Pinar"

OPENERS = {
    "en": "Hello,|Hi there,|Good morning,|Dear team,|Hey,|To whom it may concern,|Hi,|Second message today.|Quick one:|"
    "Sorry to bother you again.|Writing from my phone, sorry for mistakes.|"
    "Customer for years, never had to write before.",
    "de": "Hallo,|Guten Tag,|Liebes Team,|Moin,|Guten Morgen,|Sehr geehrte Damen und Herren,|Kurze Frage:|"
    "Ich melde mich noch einmal.|Schon wieder ich.|Servus,",
    "es": "Hola,|Buenos días,|Buenas tardes,|Estimado equipo,|Muy buenas,|Les escribo otra vez.|Una consulta rápida:|"
    "Perdonen la molestia.|Hola a todos,",
}
CLOSERS = {
    "en": "Thanks.|Thank you in advance.|Please advise.|Can somebody look into this?|What now?|Kind regards|"
    "I look forward to your answer.|Please call me if that is easier.|Not amused.|Cheers|Any help is welcome.|"
    "Is there anybody I can talk to?|This is urgent.|No rush.",
    "de": "Danke.|Vielen Dank im Voraus.|Bitte um Rückmeldung.|Was nun?|Mit freundlichen Grüßen|Viele Grüße|"
    "Das ist dringend.|Es eilt nicht.|Ich bin etwas genervt.|Gern auch telefonisch.|Können Sie das prüfen?",
    "es": "Gracias.|Gracias de antemano.|Quedo a la espera.|¿Qué hago ahora?|Un saludo|Saludos cordiales|"
    "Es urgente.|No corre prisa.|Estoy un poco molesto.|Si prefieren, llámenme.|¿Pueden revisarlo?",
}
# Said in tickets of every kind; each names something that belongs to another queue.
ASIDES = {
    "en": (
        "The number is {order}.",
        "This is about {order} from last {day}.",
        "The invoice is paid, by the way.",
        "I paid with [my credit card|a bank transfer|the gift card] [on {day}|back then].",
        "Everything else came on {day} and in good shape.",
        "I do not want a refund, only a solution.",
        "I could cancel, but I would rather not.",
        "I can log in and see number {order} there.",
        "The {item} from the same box is fine.",
        "Delivery to {place} was quick [as always|this time].",
        "Nothing else is [broken|damaged].",
        "Your product page [does not mention this|says something else].",
        "Somebody on the phone told me to [write to you|send an email to billing|use this form].",
        "A refund for something else arrived last week, so that works.",
        "The order itself was easy.",
        "I would not change a thing in your shop otherwise.",
        "Your advice last time was good.",
        "I moved to {place} recently.",
        "The size is right and the colour too.",
        "I use it every day on my way to work.",
        "I am still waiting for an answer to my last message.",
        "A friend had the same trouble with a {item}.",
        "It was a present for my [brother|daughter|neighbour].",
        "We are a small [club|workshop|school] in {place}.",
        "I tried twice on {day}.",
        "The weather in {place} does not help either.",
        "It is the second time this year.",
        "I have bought from you for {n} years.",
        "I read the questions and answers page first.",
        "My neighbour in {place} says the same.",
        "I need it for a trip on {day}.",
        "Your colleague was very kind on {day}.",
        "I have looked everywhere on your site and do not know where else to ask.",
        "Perhaps I overlooked something.",
        "It worked [well|fine] until {day}.",
        "I write to you for my [mother|boss|flatmate].",
        "There is another shop round the corner, by the way.",
        "It concerns the {item} from last {day}.",
        "One more thing about the {item}.",
    ),
    "de": (
        "Die Nummer ist {order}.",
        "Es geht um {order} vom {day}.",
        "Die Rechnung ist übrigens bezahlt.",
        "Alles andere kam am {day} und war in Ordnung.",
        "Ich möchte kein Geld zurück, nur eine Lösung.",
        "Der Login geht.",
        "Sonst ist nichts kaputt.",
        "Auf der Produktseite steht dazu nichts.",
        "Am Telefon sagte man mir, ich solle schreiben.",
        "Ich bin vor kurzem nach {place} gezogen.",
        "Auf meine letzte Nachricht kam keine Antwort.",
        "Es war ein Geschenk für meinen [Bruder|Nachbarn].",
        "Wir sind ein kleiner [Verein|Laden] in {place}.",
    ),
    "es": (
        "El número es {order}.",
        "Se trata de {order} del {day}.",
        "La factura ya está pagada, por cierto.",
        "Lo demás llegó el {day} y en buen estado.",
        "No quiero un reembolso, solo una solución.",
        "En mi cuenta sí puedo entrar.",
        "Lo demás no está roto.",
        "La página del producto no dice nada.",
        "Por teléfono me dijeron que escribiera.",
        "Me he mudado a {place} hace poco.",
        "Nadie contestó a mi último mensaje.",
        "Era un regalo para mi [hermano|vecina].",
        "Somos [un club|una tienda] de {place}.",
    ),
}

# How often each queue is written to, in hundredths.
SHARES = {
    "billing": 16,
    "cancellation": 9,
    "damage": 12,
    "delivery": 18,
    "login": 10,
    "order_change": 11,
    "product_advice": 12,
    "refund": 12,
}

CORES: dict[str, dict[str, tuple[str, ...]]] = {
    "billing": {
        "en": (
            "a question about billing: why {money} for a {item}?",
            "the bill is wrong by {money}.",
            "[I was|we were] [billed|charged] twice for [the same|one] {item}.",
            "the bill [shows|lists] a {item} that I never bought.",
            "please send the bill with [our company name|the VAT number|the new address] on it.",
            "I was billed {money} but the basket said less.",
            "your billing [system|page] still shows {money} as open although I paid on {day}.",
            "{money} [were taken|went off] twice from my card on {day}.",
            "my card was [charged|billed] although the basket was empty.",
            "I paid {money} on {day} and still got a [reminder to pay|reminder from billing].",
            "the discount code was not taken off the [total|amount], I paid too much.",
        ),
        "de": (
            "mir wurde der Betrag für {item} doppelt abgebucht.",
            "auf der Rechnung steht {item}, das habe ich nie gekauft.",
            "ich brauche eine Rechnung [mit Firmenadresse|mit Umsatzsteuernummer].",
            "der Betrag auf der Rechnung ist um {money} zu hoch.",
        ),
        "es": (
            "me han cobrado dos veces {item}.",
            "en la factura aparece {item} y no lo compré.",
            "necesito una factura [con el NIF|a nombre de la empresa].",
            "me han cobrado {money} de más en la factura.",
        ),
    },
    "cancellation": {
        "en": (
            "please confirm the cancellation of the {item}.",
            "cancel the {item}, [I changed my mind|we do not need it].",
            "please cancel [{order}|everything|the {item}] [before it leaves|right away|as soon as possible].",
            "I [want|would like] to cancel the [service plan|subscription|club membership].",
            "I did not get a cancellation confirmation [for {order}|yet].",
            "is it too late to cancel the {item} from {day}?",
            "I bought the {item} by [mistake|accident], [cancel it|do not send it] please.",
            "[stop|cancel] my [yearly plan|subscription|membership] at the end of the month.",
            "I found the {item} elsewhere and no longer need yours, do not send it.",
            "I do not want to [renew|continue] the [service plan|membership].",
        ),
        "de": (
            "bitte stornieren Sie [Bestellung {order}|{item}].",
            "ich möchte [das Abo|den Servicevertrag] kündigen.",
            "ich habe {item} aus Versehen bestellt, bitte stornieren.",
            "eine Bestätigung der Kündigung kam nie an.",
        ),
        "es": (
            "quiero cancelar [el pedido {order}|la compra de {item}].",
            "deseo dar de baja [la suscripción|el plan].",
            "compré {item} por error, quiero anular la compra.",
        ),
    },
    "damage": {
        "en": (
            "please look at the damage to [the|my] {item}, there is a photo.",
            "how do I report damage to a {item}?",
            "the {item} arrived [damaged|with a crack|with damage on one side].",
            "there is damage to the [frame|box and the {item}|left side of the {item}].",
            "the {item} came scratched and damaged, as if used before.",
            "transport damage: the box was crushed and so was the {item}.",
            "the {item} [cracked|is damaged|broke] [the first time I used it|after {n} days].",
            "a part of the {item} is [bent|damaged|loose] and I cannot use it.",
            "after {n} days the {item} [stopped working|came apart|got loose].",
            "the {item} [came apart|broke] when it rained on {day}.",
        ),
        "de": (
            "{item} kam [beschädigt|kaputt|zerkratzt] an.",
            "nach {n} Tagen ist {item} kaputt gegangen.",
            "{item} ist gebrochen, alles wackelt.",
            "Transportschaden: Karton und {item} sind beschädigt.",
        ),
        "es": (
            "{item} llegó [con daños|roto|con un golpe].",
            "a los {n} días {item} se rompió.",
            "{item} está roto y se mueve todo.",
        ),
    },
    "delivery": {
        "en": (
            "no delivery on {day} either, what about the {item}?",
            "where is my delivery? It was promised for {day}.",
            "the delivery [is late|has not come|is {n} days late].",
            "do you deliver to [{place}|an island|a parcel locker]?",
            "how long does delivery to {place} take?",
            "tracking says it was [delivered|handed over] but [nothing is here|there is no parcel].",
            "where is my parcel? Tracking has not moved since {day}.",
            "the courier left the parcel [with a neighbour I do not know|in the rain|at the wrong house].",
            "the {item} was missing in the [parcel|delivery], the box held only {n} things.",
            "the courier brought somebody else's parcel instead of mine.",
        ),
        "de": (
            "wo bleibt mein Paket? Versprochen war {day}.",
            "die Lieferung ist {n} Tage zu spät.",
            "laut Tracking ist das Paket zugestellt, aber hier ist nichts.",
            "wann kommt die Lieferung nach {place}?",
        ),
        "es": (
            "¿dónde está mi paquete? Lo prometieron para el {day}.",
            "la entrega lleva {n} días de retraso.",
            "según el seguimiento el paquete está entregado, pero no hay nada.",
            "¿cuándo llega el paquete a {place}?",
        ),
    },
    "login": {
        "en": (
            "no login possible [since {day}|with the new password].",
            "which name do I use for the login?",
            "I cannot log in [any more|since {day}|with the right password].",
            "the login [page|form] [says error {n}0{n}|keeps loading|throws me out].",
            "my login is locked after {n} tries.",
            "the login with the old user name ends on a blank page.",
            "the mail to reset my [password|login] never [arrives|comes].",
            "the code for my [account|login] [is always wrong|comes too late].",
            "I forgot the password and your site does not know my email address.",
            "I cannot [get into my account|log in], the password [is refused|does not work].",
        ),
        "de": (
            "ich komme nicht mehr in mein Konto.",
            "der Login [bricht ab|meldet einen Fehler].",
            "die Mail für das neue Passwort kommt nicht.",
            "mein Konto ist gesperrt, das Passwort geht nicht.",
        ),
        "es": (
            "no puedo entrar en mi cuenta.",
            "el login [da error|no carga].",
            "el correo para la contraseña no llega.",
            "mi contraseña no vale y la cuenta está bloqueada.",
        ),
    },
    "order_change": {
        "en": (
            "a change to order {order}: [size {n}|the black one] please.",
            "can I [still change|change] {order} to [size {n}|the black one|{n} pieces]?",
            "please change the [address|street|colour] [in|of] my order.",
            "I would like to add a {item} to order {order}.",
            "change the {item} for the [larger|smaller|longer] one before you pack it.",
            "I typed the wrong [house number|street] in the order, please change it to number {n}.",
            "[two|three] instead of one {item}, please, if it is not too late [to change it|for that].",
            "leave the {item} out and send the rest, if it is not packed yet.",
            "please send it to my office in {place} instead, if it is not packed yet.",
            "I picked the wrong [size|colour], please send [size {n}|the black one] instead.",
        ),
        "de": (
            "kann ich Bestellung {order} noch auf Größe {n} ändern?",
            "bitte ändern Sie die Adresse der Bestellung.",
            "ich möchte {item} zur Bestellung hinzufügen.",
            "bitte die Farbe ändern: Schwarz statt Rot.",
        ),
        "es": (
            "¿puedo cambiar el pedido {order} a la talla {n}?",
            "cambien la dirección del pedido, por favor.",
            "quiero añadir {item} al pedido.",
            "quiero cambiar el color: negro en vez de rojo.",
        ),
    },
    "product_advice": {
        "en": (
            "I need product advice before I buy a {item}.",
            "[your|some] advice on a {item} for [winter|long tours], please.",
            "which product would you advise for [long tours|winter|a heavy rider], the {item} or another?",
            "I need advice: {item} or {item}?",
            "is the product with the {item} [waterproof|allowed on the road|free of nickel]?",
            "please advise a beginner on which {item} to take.",
            "does the {item} fit a [{n}-speed hub|frame of size {n}0|children's bike]?",
            "will the {item} fit [my bike|a frame of size {n}0|a heavy rider]?",
            "what is the difference between the two [models|products] of {item}?",
            "[any advice how to|how do I] mount the {item} on [my bike|a carbon frame]?",
            "is the {item} [waterproof|good for winter|strong enough for long tours]?",
        ),
        "de": (
            "passt {item} an [ein Kinderrad|Rahmengröße {n}0]?",
            "welches Modell empfehlen Sie für [lange Touren|den Winter]?",
            "ist {item} wasserdicht und passt es an mein Rad?",
            "was ist der Unterschied zwischen den Modellen von {item}?",
        ),
        "es": (
            "¿{item} sirve para [una bici infantil|un cuadro de talla {n}0]?",
            "¿qué modelo me recomiendan para [viajes largos|el invierno]?",
            "¿{item} es impermeable y sirve para mi bici?",
        ),
    },
    "refund": {
        "en": (
            "no refund for the {item} [yet|so far].",
            "I asked for a refund [on {day}|{n} weeks ago].",
            "[when|how soon] do I get my refund for the {item}?",
            "I sent back the {item} on {day} and there is still no refund.",
            "the refund is {money} short.",
            "I was promised a refund of {money} on the phone.",
            "I want [my money back|a refund] for [the {item}|{order}].",
            "I sent the {item} back {n} weeks ago and [no money has come|got no refund].",
            "how do I send the {item} back? It does not fit.",
            "when is the money for the {item} back on my card?",
        ),
        "de": (
            "wann kommt die Erstattung für {item}?",
            "ich habe {item} am {day} zurückgeschickt, aber kein Geld gesehen.",
            "wie schicke ich {item} zurück? Es passt nicht.",
            "ich will mein Geld zurück für {item}.",
        ),
        "es": (
            "¿cuándo me devuelven el dinero de {item}?",
            "devolví {item} el {day} y no he visto el dinero.",
            "¿cómo devuelvo {item}? No me queda bien.",
            "quiero que me devuelvan el dinero del pedido {order}.",
        ),
    },
}
