//! The members of a webhook whose values may be kept, and the grammar that each value must have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::domain::json::Json;

/// The kind of value that a member contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An id of a payment, an order, a refund, an event.
    Id,
    /// An amount of money in any unit, or a rate.
    Amount,
    /// A code of a currency, or of an asset and its network.
    Currency,
    /// A status, an event's name, a code.
    Word,
    /// Something that happened, or a mode: usually a boolean, sometimes a word, an amount or a time.
    Flag,
    /// A point in time.
    Time,
}

/// The allowed names, normalised. A name must be equal to one of them: there is no rule for prefixes or suffixes, since
/// `phoneId` and `nationalId` are personal. A name that a provider's reader looks for belongs on the list.
///
/// Absent on purpose: ids of people, accounts, merchants and devices; session ids and tokens, which can be secrets;
/// hashes of blockchain transactions, which lead to the buyer's wallet; reasons, messages and all other free text.
pub(super) const ALLOWED: [(Kind, &str); 6] = [
    (
        Kind::Id,
        "acquirerreference arn authorisationid authorizationid basketid captureid cartid charge chargebackid \
         chargebackreference chargeid checkoutid clientorderid correlationid deliveryid disputeid disputereference \
         eventid eventuuid externalid externalorderid externalreference gatewayid gatewayreference \
         gatewaytransactionid guid id idempotencykey intentid invoice invoiceid invoiceno invoicenumber \
         invoicereference merchantorderid merchantpaymentid merchantref merchantreference merchanttransactionid \
         messageid notificationid objectid operationid order orderid orderno ordernum ordernumber orderref \
         orderreference orderuuid originalid originalorderid originalpaymentid originalreference \
         originaltransactionid parentid parentpaymentid parenttransactionid payid payment paymentfunctionsid \
         paymentid paymentintent paymentintentid paymentlinkid paymentno paymentnumber paymentref paymentreference \
         paymentrequestid paymentuuid preorderid processid processorreference processuuid providerid \
         providerpaymentid providerreference providertransactionid pspreference receiptid receiptno receiptnumber ref \
         reference referenceid referenceno referencenumber refundid refundreference refundtransactionid \
         relatedtransactionid requestid resourceid reversalid rrn settlementid shoporderid stan traceid tradeno \
         transaction transactionid transactionno transactionnumber transactionref transactionreference \
         transactionuuid transid trxid txnid txnno txnref txnreference uuid webhookid",
    ),
    (
        Kind::Amount,
        "actualamount amount amountcaptured amountcents amountdisputed amountdue amountincents amountinusd \
         amountminor amountpaid amountreceived amountrefunded amountreversed amountusd authorisedamount \
         authorizedamount baseamount capturedamount chargebackamount chargedbackamount convertedamount disputeamount \
         disputedamount exchangerate expectedamount fee feeamount fees finalamount grossamount invoiceamount \
         merchantamount minoramount netamount orderamount ordertotal originalamount paidamount payamount payinamount \
         paymentamount price priceamount processedamount rate receivedamount refundamount refundedamount refundtotal \
         remainingamount requestedamount reversalamount reversedamount settledamount settlementamount subtotal \
         taxamount total totalamount totalpaid totalrefund totalrefunded totalrefundedamount transactionamount \
         txnamount usdamount voidamount voidedamount",
    ),
    (
        Kind::Currency,
        "amountcurrency asset assetcode basecurrency blockchain chain chargebackcurrency coin convertedcurrency \
         currency currencycode feecurrency invoicecurrency network ordercurrency originalcurrency paidcurrency \
         paycurrency payincurrency paymentcurrency pricecurrency refundcurrency requestedcurrency settlementcurrency \
         transactioncurrency txncurrency",
    ),
    (
        Kind::Word,
        "action apiversion attempt attemptnumber attempts capturestatus chargebackstate chargebackstatus \
         chargebacktype code currencydecimals decimals declinecode disputestate disputestatus disputetype env \
         environment error errorcode errors errortype event eventcode eventname eventstatus eventtype exponent \
         failurecode finalstatus gateway httpstatus intentstatus invoicestatus kind messagetype method mode newstate \
         newstatus notificationtype object objecttype oldstate oldstatus operation operationtype orderstate \
         orderstatus outcome paymentmethod paymentmethodtype paymentstate paymentstatus paymenttype previousstate \
         previousstatus processstatus provider reasoncode refundstate refundstatus refundtype resourcetype \
         responsecode result resultcode resultstatus retry retrycount reversalstate reversalstatus reversaltype \
         settlementstatus state status statuscode statusname substatus topic transactionstate transactionstatus \
         transactiontype txnstatus txntype type version webhookattempt webhookevent webhooktype",
    ),
    (
        Kind::Flag,
        "accepted approved authorised authorized canceled cancelled captured chargeback chargebacks chargedback \
         completed confirmed declined dispute disputed disputes duplicate expired failed final finalized fraud \
         fraudulent fullyrefunded hasbeenchargedback hasbeenrefunded hasbeenreversed haschargeback haschargebacks \
         hasdispute hasdisputes hasrefund hasrefunds hasreversal hasreversals isapproved iscanceled iscancelled \
         ischargeback ischargedback iscompleted isconfirmed isdispute isdisputed isduplicate isexpired isfailed \
         isfinal isfullyrefunded islive ispaid ispartial ispartiallyrefunded isproduction isrefund isrefunded \
         isreversal isreversed issandbox issettled issuccess issuccessful issuspicious istest isvoid isvoided live \
         livemode ok paid partial partiallyrefunded partialrefund partialrefunds pending ping processed production \
         received refund refunded refunds rejected reversal reversals reversed sandbox sandboxmode settled succeeded \
         success successful suspicious test testing testmode void voided waschargedback wasdisputed wasrefunded \
         wasreversed",
    ),
    (
        Kind::Time,
        "approvedat approveddate authorisedat authorizedat canceldate canceledat cancelledat capturedat chargebackat \
         chargebackcreatedat chargebackdate chargebackremovedat chargebackremovedate chargebacktime chargedat \
         chargedbackat chargedbackdate completedat completeddate completiondate confirmedat created createdat \
         createddate createdon createdtime createtime creationdate creationtime date datecreated daterefunded \
         datetime dateupdated declinedat disputecreatedat disputedat disputedate disputeddate disputeremovedate \
         disputetime eventdate eventtime expiredat expiresat failedat finalisedat finalizedat initiatedat \
         lastmodified lastupdated modifiedat occurredat orderdate paidat paiddate paidon paymentdate paymenttime \
         processedat processeddate receivedat refundat refundcompletedat refundcreatedat refunddate refundedat \
         refundeddate refundedon refundprocessedat refundremovedat refundremovedate refundtime refundtimestamp \
         reversalat reversaldate reversalremovedate reversaltime reversedat reverseddate sentat settledat \
         settlementdate startedat statusdate succeededat suspiciousat suspiciousdate suspiciousremovedate time \
         timestamp transactiondate transactiontime txndate txntime updated updatedat updateddate updatedon updatetime \
         validuntil voiddate voidedat voideddate voidtime",
    ),
];

static KINDS: LazyLock<HashMap<&str, Kind>> = LazyLock::new(|| {
    let of = |(kind, names): (Kind, &'static str)| names.split_ascii_whitespace().map(move |name| (name, kind));
    ALLOWED.into_iter().flat_map(of).collect()
});

/// Objects about a person or a device, and objects with secrets, keep no value, and neither do the objects in them:
/// those whose normalised name contains one of these texts...
const PERSONAL_PARTS: &str = "\
    account address apikey bank beneficiar billing birth browser buyer card consumer contact credential customer device \
    document identity kyc location passenger passport password payer person phone profile recipient secret session \
    shipping shopper token traveler traveller user wallet";

/// ...or is one of these names.
const PERSONAL_NAMES: &str = "client clients email from geo guest holder ip member name owner receiver sender to";

/// Members beside which `state` is part of an address.
const ADDRESS_PARTS: &str = "address city postalcode postcode street town zip zipcode";

/// Members whose value can be a message as JSON text.
pub(super) const MESSAGES: &str = "\
    attributes body content custom customdata data detail details event extra fields meta metadata object order \
    params passthrough payload payment request resource response result transaction transactions";

/// A member's name without regard to case, `_` and `-`.
pub(super) fn normalised(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '_' | '-'));
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Names of words that may not be kept, but in which words for money that went back count.
const OTHER_WORDS: &str = "\
    category flag flags flow kind label labels stage state status statusreason statustext subtype tag tags type";

/// Ends of names of lists of what happened to a payment, in the order of time.
const HISTORIES: &str = "history timeline transactions";

/// Whether a member's text can be a word for money that went back: a status, a type, a category.
pub(crate) fn is_word_name(name: &str) -> bool {
    let name = normalised(name);
    Kind::of(&name) == Some(Kind::Word) || has_end(OTHER_WORDS, &name) || has_end(HISTORIES, &name)
}

/// Whether a member is a list of what happened to a payment.
pub(crate) fn is_history_name(name: &str) -> bool {
    has_end(HISTORIES, &normalised(name))
}

/// Whether an object under this normalised name is about a person or a device.
pub(super) fn is_personal(name: &str) -> bool {
    PERSONAL_PARTS.split(' ').any(|part| name.contains(part)) || is_in(PERSONAL_NAMES, name)
}

/// Whether this normalised name makes the object that contains it an address.
pub(super) fn is_address_part(name: &str) -> bool {
    is_in(ADDRESS_PARTS, name)
}

/// Whether a text under this normalised name can be a message as JSON text.
pub(super) fn can_be_message(name: &str) -> bool {
    is_in(MESSAGES, name)
}

fn is_in(list: &str, name: &str) -> bool {
    list.split(' ').any(|listed| listed == name)
}

fn has_end(list: &str, name: &str) -> bool {
    list.split(' ').any(|end| name.ends_with(end))
}

impl Kind {
    /// The kind of the member with this normalised name. `None` if its value must not be kept.
    pub(crate) fn of(name: &str) -> Option<Self> {
        KINDS.get(name).copied()
    }

    /// Whether a reader needs the exact value. A word or a flag says something even if only its type is known.
    pub const fn is_exact(self) -> bool {
        match self {
            Self::Id | Self::Amount | Self::Currency | Self::Time => true,
            Self::Word | Self::Flag => false,
        }
    }

    /// Whether a value has the grammar of this kind. Booleans have every grammar, because a reader can distinguish
    /// `true` and `false` from an absent value. Arrays and objects have none.
    pub fn allows(self, value: &Json) -> bool {
        match value {
            Json::Null | Json::Bool(_) => true,
            Json::Number(text) => self.allows_number(text),
            Json::String(text) => self.allows_text(text),
            Json::Array(_) | Json::Object(_) => false,
        }
    }

    fn allows_number(self, text: &str) -> bool {
        match self {
            Self::Id => text.len() <= 256,
            Self::Amount | Self::Flag | Self::Time => text.len() <= 64,
            Self::Currency | Self::Word => {
                text.len() <= 6 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-'))
            }
        }
    }

    fn allows_text(self, text: &str) -> bool {
        match self {
            Self::Id => is_id(text),
            Self::Amount => is_amount(text),
            Self::Currency => text.len() <= 16 && is_word(text),
            Self::Word => is_word(text),
            Self::Flag => is_word(text) || is_amount(text) || is_time(text),
            Self::Time => is_time(text),
        }
    }
}

/// An id has 1 to 256 letters, digits and characters that are common in ids, none of which can separate words. URLs, IP
/// addresses and international telephone numbers are not ids.
fn is_id(text: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || "!#$()*+-./:[]^_|~".contains(c);
    let padded = text.trim_end_matches('=');
    !padded.is_empty()
        && text.chars().count() <= 256
        && padded.chars().all(is_allowed)
        && !text.starts_with('+')
        && !text.contains("//")
        && text.parse::<IpAddr>().is_err()
}

/// An amount is a decimal number, possibly with thousands separators or a decimal comma.
fn is_amount(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    text.len() <= 64
        && mantissa.contains(|c: char| c.is_ascii_digit())
        && mantissa.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b','))
        && !exponent.is_empty()
        && exponent.bytes().all(|byte| byte.is_ascii_digit())
}

/// A word has at most 64 letters, digits, `_`, `.`, `:` and `-`. It has a letter, unless it is as short as a code:
/// telephone numbers, birth dates and IP addresses are not words.
pub(crate) fn is_word(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    text.len() <= 64
        && text.bytes().all(is_allowed)
        && (text.len() <= 6 || text.contains(|c: char| c.is_ascii_alphabetic()))
        && text.parse::<IpAddr>().is_err()
}

/// Whether a word marks a test message: a part of it, between dots, is `test` or `ping`.
pub(crate) fn is_test_word(word: &str) -> bool {
    word.split('.')
        .map(str::trim)
        .any(|part| part.eq_ignore_ascii_case("test") || part.eq_ignore_ascii_case("ping"))
}

/// A time is a date, a date and a time of day with or without an offset, or seconds or smaller units since an epoch.
pub(crate) fn is_time(text: &str) -> bool {
    let is_epoch = (9..=24).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
    let Some((date, time)) = text.split_at_checked(10) else {
        return is_epoch;
    };
    let is_date = has_form(date, "0000-00-00") || has_form(date, "0000/00/00");
    let is_time = time.split_at_checked(6).is_some_and(|(minutes, rest)| {
        ["T00:00", "t00:00", " 00:00"]
            .iter()
            .any(|form| has_form(minutes, form))
            && rest.len() <= 24
            && rest
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.' | b'+' | b'-' | b'Z' | b'z'))
    });
    is_epoch || is_date && (time.is_empty() || is_time)
}

/// Whether a text is equal to `form`, in which `0` is any digit.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| {
        if form == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == form
        }
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}
