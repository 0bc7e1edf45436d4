# GET /payments/{id} as a shop would write it in Python: one strongly consistent read, as in the Rust get-payment.
from shared import TABLE, UUID, HttpError, dynamodb, reply, serve, state_key, view


def plain(item):
    def value(attribute):
        [(kind, content)] = attribute.items()
        return int(content) if kind == "N" else plain(content) if kind == "M" else content

    return {name: value(attribute) for name, attribute in item.items()}


@serve("get-payment")
def handler(event):
    id = (event.get("pathParameters") or {}).get("id", "")
    item = None
    if UUID.fullmatch(id):
        item = dynamodb.get_item(TableName=TABLE, Key=state_key(id.lower()), ConsistentRead=True).get("Item")
    if not item:
        raise HttpError(404, "there is no payment with this id")
    return reply(200, view(plain(item), is_current=True))
