package cart;

import static serving.Server.json;

import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.apache.flink.statefun.sdk.java.Address;
import org.apache.flink.statefun.sdk.java.Context;
import org.apache.flink.statefun.sdk.java.StatefulFunction;
import org.apache.flink.statefun.sdk.java.StatefulFunctionSpec;
import org.apache.flink.statefun.sdk.java.StatefulFunctions;
import org.apache.flink.statefun.sdk.java.TypeName;
import org.apache.flink.statefun.sdk.java.ValueSpec;
import org.apache.flink.statefun.sdk.java.message.EgressMessageBuilder;
import org.apache.flink.statefun.sdk.java.message.Message;
import org.apache.flink.statefun.sdk.java.message.MessageBuilder;
import org.apache.flink.statefun.sdk.java.types.Type;
import serving.Server;
import serving.Server.EgressRecord;

/**
 * A shopping cart and its stock, after the StateFun playground: the cart asks the stock for things, which
 * answers its caller; a checkout writes a receipt, clearing the cart gives everything back.
 */
public final class ShoppingCart {
  private static final TypeName CART = TypeName.typeNameFromString("com.example/user-shopping-cart");
  private static final TypeName STOCK = TypeName.typeNameFromString("com.example/stock");

  record AddToCart(String userId, String itemId, int quantity) {}

  record ClearCart(String userId) {}

  record Checkout(String userId) {}

  record RestockItem(String itemId, int quantity) {}

  record RequestItem(int quantity) {}

  record ItemAvailability(boolean inStock, int quantity) {}

  record Basket(TreeMap<String, Integer> items) {}

  private static final Type<AddToCart> ADD_TO_CART = json("com.example/AddToCart", AddToCart.class);
  private static final Type<ClearCart> CLEAR_CART = json("com.example/ClearCart", ClearCart.class);
  private static final Type<Checkout> CHECKOUT = json("com.example/Checkout", Checkout.class);
  private static final Type<RestockItem> RESTOCK_ITEM =
      json("com.example/RestockItem", RestockItem.class);
  private static final Type<RequestItem> REQUEST_ITEM =
      json("com.example/RequestItem", RequestItem.class);
  private static final Type<ItemAvailability> ITEM_AVAILABILITY =
      json("com.example/ItemAvailability", ItemAvailability.class);

  private static final ValueSpec<Basket> BASKET =
      ValueSpec.named("basket").withCustomType(json("com.example/Basket", Basket.class));
  private static final ValueSpec<Integer> ON_STOCK = ValueSpec.named("stock").withIntType();

  private static final class Cart implements StatefulFunction {
    @Override
    public CompletableFuture<Void> apply(Context context, Message message) {
      TreeMap<String, Integer> items = new TreeMap<>();
      context.storage().get(BASKET).ifPresent(basket -> items.putAll(basket.items()));
      if (message.is(ADD_TO_CART)) {
        AddToCart wanted = message.as(ADD_TO_CART);
        send(context, wanted.itemId(), REQUEST_ITEM, new RequestItem(wanted.quantity()));
      } else if (message.is(ITEM_AVAILABILITY)) {
        ItemAvailability answer = message.as(ITEM_AVAILABILITY);
        if (answer.inStock()) {
          // The thing is named by the id of the stock that answers.
          String item = context.caller().map(Address::id).orElseThrow();
          items.merge(item, answer.quantity(), Integer::sum);
          context.storage().set(BASKET, new Basket(items));
        }
      } else if (message.is(CLEAR_CART)) {
        items.forEach(
            (item, quantity) ->
                send(context, item, RESTOCK_ITEM, new RestockItem(item, quantity)));
        context.storage().remove(BASKET);
      } else if (message.is(CHECKOUT)) {
        receipt(context, items);
      } else {
        throw new IllegalArgumentException("no message of a cart: " + message.valueTypeName());
      }
      return context.done();
    }

    private static <T> void send(Context context, String item, Type<T> type, T value) {
      context.send(MessageBuilder.forAddress(STOCK, item).withCustomType(type, value).build());
    }

    private static void receipt(Context context, Map<String, Integer> items) {
      if (items.isEmpty()) {
        return;
      }
      String lines =
          items.entrySet().stream()
              .map(entry -> entry.getKey() + ": " + entry.getValue())
              .collect(Collectors.joining("\n"));
      String payload =
          String.format("Receipt{userId='%s', details='%s'}", context.self().id(), lines);
      context.send(
          EgressMessageBuilder.forEgress(Server.EGRESS)
              .withCustomType(Server.EGRESS_RECORD, new EgressRecord("receipts", payload))
              .build());
    }
  }

  private static final class Stock implements StatefulFunction {
    @Override
    public CompletableFuture<Void> apply(Context context, Message message) {
      int left = context.storage().get(ON_STOCK).orElse(0);
      if (message.is(RESTOCK_ITEM)) {
        context.storage().set(ON_STOCK, left + message.as(RESTOCK_ITEM).quantity());
        return context.done();
      }
      int wanted = message.as(REQUEST_ITEM).quantity();
      boolean inStock = left >= wanted;
      if (inStock) {
        context.storage().set(ON_STOCK, left - wanted);
      }
      context.send(
          MessageBuilder.forAddress(context.caller().orElseThrow())
              .withCustomType(ITEM_AVAILABILITY, new ItemAvailability(inStock, wanted))
              .build());
      return context.done();
    }
  }

  public static void main(String[] arguments) {
    StatefulFunctions functions = new StatefulFunctions();
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(CART).withValueSpec(BASKET).withSupplier(Cart::new).build());
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(STOCK)
            .withValueSpec(ON_STOCK)
            .withSupplier(Stock::new)
            .build());
    Server.serve(functions);
  }
}
