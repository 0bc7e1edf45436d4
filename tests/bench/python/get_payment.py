# GET /payments/{id} as a shop would write it in Python: the Rust get-payment's one strongly consistent read.
from shared import TABLE, UUID, Refusal, dynamodb, reply, serve, state_key, view


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
        raise Refusal(404, "there is no payment with this id")
    return reply(200, view(plain(item), is_current=True))
