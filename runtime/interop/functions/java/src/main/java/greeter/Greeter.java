package greeter;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.undertow.Undertow;
import io.undertow.server.HttpHandler;
import io.undertow.server.HttpServerExchange;
import io.undertow.util.Headers;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.statefun.sdk.java.Context;
import org.apache.flink.statefun.sdk.java.StatefulFunction;
import org.apache.flink.statefun.sdk.java.StatefulFunctionSpec;
import org.apache.flink.statefun.sdk.java.StatefulFunctions;
import org.apache.flink.statefun.sdk.java.TypeName;
import org.apache.flink.statefun.sdk.java.ValueSpec;
import org.apache.flink.statefun.sdk.java.handler.RequestReplyHandler;
import org.apache.flink.statefun.sdk.java.message.EgressMessageBuilder;
import org.apache.flink.statefun.sdk.java.message.Message;
import org.apache.flink.statefun.sdk.java.message.MessageBuilder;
import org.apache.flink.statefun.sdk.java.slice.Slice;
import org.apache.flink.statefun.sdk.java.slice.Slices;
import org.apache.flink.statefun.sdk.java.types.SimpleType;
import org.apache.flink.statefun.sdk.java.types.Type;

/** The greeter functions with the official Java SDK: `person` counts visits, `greeter` greets. */
public final class Greeter {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final TypeName PERSON = TypeName.typeNameFromString("example/person");
  private static final TypeName GREETER = TypeName.typeNameFromString("example/greeter");
  private static final TypeName EGRESS =
      TypeName.typeNameFromString("io.statefun.playground/egress");
  private static final Type<GreetRequest> GREET_REQUEST =
      json("example/GreetRequest", GreetRequest.class);
  private static final Type<EgressRecord> EGRESS_RECORD =
      json("io.statefun.playground/EgressRecord", EgressRecord.class);
  private static final ValueSpec<Integer> VISITS = ValueSpec.named("visits").withIntType();

  record GreetRequest(String name, int visits) {}

  record EgressRecord(String topic, String payload) {}

  private static final class Person implements StatefulFunction {
    @Override
    public CompletableFuture<Void> apply(Context context, Message message) {
      String name = message.as(GREET_REQUEST).name();
      int visits = context.storage().get(VISITS).orElse(0) + 1;
      context.storage().set(VISITS, visits);
      context.send(
          MessageBuilder.forAddress(GREETER, name)
              .withCustomType(GREET_REQUEST, new GreetRequest(name, visits))
              .build());
      return context.done();
    }
  }

  private static final class Writer implements StatefulFunction {
    @Override
    public CompletableFuture<Void> apply(Context context, Message message) {
      GreetRequest request = message.as(GREET_REQUEST);
      String greeting =
          String.format("Hello %s, this is visit %d.", request.name(), request.visits());
      context.send(
          EgressMessageBuilder.forEgress(EGRESS)
              .withCustomType(EGRESS_RECORD, new EgressRecord("greetings", greeting))
              .build());
      return context.done();
    }
  }

  /** The handler of the SDK's documentation: a failure is told in a header named `Status`. */
  private record Handler(RequestReplyHandler functions) implements HttpHandler {
    @Override
    public void handleRequest(HttpServerExchange exchange) {
      exchange.getRequestReceiver().receiveFullBytes(this::call);
    }

    private void call(HttpServerExchange exchange, byte[] body) {
      exchange.dispatch();
      functions
          .handle(Slices.wrap(body))
          .whenComplete((answer, failure) -> answer(exchange, answer, failure));
    }

    private static void answer(HttpServerExchange exchange, Slice answer, Throwable failure) {
      if (failure != null) {
        exchange.getResponseHeaders().put(Headers.STATUS, 500);
        exchange.endExchange();
        return;
      }
      exchange.getResponseHeaders().put(Headers.CONTENT_TYPE, "application/octet-stream");
      exchange.getResponseSender().send(answer.asReadOnlyByteBuffer());
    }
  }

  private static <T> Type<T> json(String typename, Class<T> type) {
    return SimpleType.simpleImmutableTypeFrom(
        TypeName.typeNameFromString(typename),
        JSON::writeValueAsBytes,
        bytes -> JSON.readValue(bytes, type));
  }

  public static void main(String[] arguments) {
    StatefulFunctions functions = new StatefulFunctions();
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(PERSON)
            .withValueSpec(VISITS)
            .withSupplier(Person::new)
            .build());
    functions.withStatefulFunction(
        StatefulFunctionSpec.builder(GREETER).withSupplier(Writer::new).build());
    int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "1108"));
    Undertow.builder()
        .addHttpListener(port, "127.0.0.1")
        .setHandler(new Handler(functions.requestReplyHandler()))
        .build()
        .start();
  }
}
