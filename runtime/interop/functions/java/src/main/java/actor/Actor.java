package actor;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.statefun.sdk.java.Address;
import org.apache.flink.statefun.sdk.java.AddressScopedStorage;
import org.apache.flink.statefun.sdk.java.Context;
import org.apache.flink.statefun.sdk.java.StatefulFunction;
import org.apache.flink.statefun.sdk.java.StatefulFunctionSpec;
import org.apache.flink.statefun.sdk.java.StatefulFunctions;
import org.apache.flink.statefun.sdk.java.TypeName;
import org.apache.flink.statefun.sdk.java.ValueSpec;
import org.apache.flink.statefun.sdk.java.message.EgressMessageBuilder;
import org.apache.flink.statefun.sdk.java.message.Message;
import org.apache.flink.statefun.sdk.java.message.MessageBuilder;
import serving.Server;
import serving.Server.EgressRecord;

/** The actor with the official Java SDK: it does what its message says, see the README. */
public final class Actor implements StatefulFunction {
  private static final TypeName SINK = TypeName.typeNameFromString("probe/sink");
  private static final int RING = 10_000;
  private static final Duration BRIEF_TIME = Duration.ofMillis(1500);

  private static final ValueSpec<Integer> COUNT = ValueSpec.named("count").withIntType();
  private static final ValueSpec<Long> BIG = ValueSpec.named("big").withLongType();
  private static final ValueSpec<Float> RATIO = ValueSpec.named("ratio").withFloatType();
  private static final ValueSpec<Double> EXACT = ValueSpec.named("exact").withDoubleType();
  private static final ValueSpec<Boolean> FLAG = ValueSpec.named("flag").withBooleanType();
  private static final ValueSpec<String> TEXT = ValueSpec.named("text").withUtf8StringType();
  private static final ValueSpec<Integer> BRIEF =
      ValueSpec.named("brief").thatExpireAfterWrite(BRIEF_TIME).withIntType();
  private static final ValueSpec<Integer> USED =
      ValueSpec.named("used").thatExpiresAfterCall(BRIEF_TIME).withIntType();

  private static final Map<String, ValueSpec<?>> STATES =
      Stream.of(COUNT, BIG, RATIO, EXACT, FLAG, TEXT, BRIEF, USED)
          .collect(Collectors.toMap(ValueSpec::name, Function.identity()));

  @Override
  public CompletableFuture<Void> apply(Context context, Message message) {
    for (String step : message.asUtf8String().split(";")) {
      String[] words = words(step.strip(), 2);
      act(context, words[0], words.length > 1 ? words[1] : "");
    }
    return context.done();
  }

  private static void act(Context context, String verb, String rest) {
    AddressScopedStorage storage = context.storage();
    switch (verb) {
      case "add" -> storage.set(COUNT, storage.get(COUNT).orElse(0) + Integer.parseInt(rest));
      case "put" -> put(storage, words(rest, 2));
      case "clear" -> storage.remove(STATES.get(rest));
      case "show" -> show(context, STATES.get(rest));
      case "send" -> {
        String[] words = words(rest, 3);
        context.send(command(address(words[0], words[1]), words[2]));
      }
      case "burst" -> {
        String[] words = words(rest, 4);
        for (int left = Integer.parseInt(words[0]); left > 0; left--) {
          context.send(command(address(words[1], words[2]), words[3]));
        }
      }
      case "after" -> {
        String[] words = words(rest, 2);
        context.sendAfter(millis(words[0]), command(context.self(), words[1]));
      }
      case "timer" -> {
        String[] words = words(rest, 3);
        context.sendAfter(millis(words[0]), words[1], command(context.self(), words[2]));
      }
      case "cancel" -> context.cancelDelayedMessage(rest);
      case "reply" -> context.send(command(context.caller().orElseThrow(), rest));
      case "tell" -> tell(context, rest);
      case "fail" -> throw new IllegalStateException("asked to fail");
      default -> throw new IllegalArgumentException("no step: " + verb);
    }
  }

  private static String[] words(String line, int most) {
    return line.split(" ", most);
  }

  private static Duration millis(String text) {
    return Duration.ofMillis(Long.parseLong(text));
  }

  private static Address address(String typename, String id) {
    return new Address(TypeName.typeNameFromString(typename), id);
  }

  private static Message command(Address target, String step) {
    return MessageBuilder.forAddress(target).withValue(step).build();
  }

  private static void put(AddressScopedStorage storage, String[] words) {
    String value = words.length > 1 ? words[1] : "";
    switch (words[0]) {
      case "count" -> storage.set(COUNT, Integer.parseInt(value));
      case "big" -> storage.set(BIG, Long.parseLong(value));
      case "ratio" -> storage.set(RATIO, Float.parseFloat(value));
      case "exact" -> storage.set(EXACT, Double.parseDouble(value));
      case "flag" -> storage.set(FLAG, Boolean.parseBoolean(value));
      case "text" -> storage.set(TEXT, value);
      case "brief" -> storage.set(BRIEF, Integer.parseInt(value));
      case "used" -> storage.set(USED, Integer.parseInt(value));
      default -> throw new IllegalArgumentException("no state: " + words[0]);
    }
  }

  private static <T> void show(Context context, ValueSpec<T> state) {
    MessageBuilder message = MessageBuilder.forAddress(SINK, context.self().id());
    Optional<T> value = context.storage().get(state);
    value.ifPresentOrElse(
        present -> message.withCustomType(state.type(), present),
        () -> message.withValue("unset"));
    context.send(message.build());
  }

  private static void tell(Context context, String text) {
    String who =
        context.caller().map(a -> a.type().asTypeNameString() + "/" + a.id()).orElse("nobody");
    String count = context.storage().get(COUNT).map(String::valueOf).orElse("none");
    String payload =
        String.format("%s: %s called by %s, count %s", text, context.self().id(), who, count);
    context.send(
        EgressMessageBuilder.forEgress(Server.EGRESS)
            .withCustomType(Server.EGRESS_RECORD, new EgressRecord("news", payload))
            .build());
  }

  private static CompletableFuture<Void> relay(Context context, Message message) {
    AddressScopedStorage storage = context.storage();
    storage.set(COUNT, storage.get(COUNT).orElse(0) + 1);
    int left = message.asInt();
    if (left > 0) {
      String next = String.valueOf((Integer.parseInt(context.self().id()) + 1) % RING);
      context.send(
          MessageBuilder.forAddress(context.self().type(), next).withValue(left - 1).build());
    }
    return context.done();
  }

  public static void main(String[] arguments) {
    StatefulFunctions functions = new StatefulFunctions();
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(TypeName.typeNameFromString("suite/relay"))
            .withValueSpec(COUNT)
            .withSupplier(() -> Actor::relay)
            .build());
    for (String typename : new String[] {"suite/actor", "frail/actor"}) {
      functions.withStatefulFunction(
          StatefulFunctionSpec.builder(TypeName.typeNameFromString(typename))
              .withValueSpecs(STATES.values().toArray(new ValueSpec<?>[0]))
              .withSupplier(Actor::new)
              .build());
    }
    Server.serve(functions);
  }
}
